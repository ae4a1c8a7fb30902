//! Compiles the `.proto` files with protox, so that no `protoc` has to be installed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 4] = [
    "messenger/event/v1/event.proto",
    "messenger/auth/v1/auth.proto",
    "messenger/conversation/v1/conversation.proto",
    "messenger/message/v1/message.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=messenger");
    println!("cargo:rerun-if-changed=google");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .bytes(".messenger.message.v1.Entries.entries")
        .compile_fds(descriptors)?;
    Ok(())
}
