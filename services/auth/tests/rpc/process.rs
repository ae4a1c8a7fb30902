//! The binary: what an operator sees.

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, Output},
};

fn auth(folder: &Path, settings: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_messenger-auth"))
        .env_clear()
        .env("MESSENGER_SERVICE_SECRET", "0123456789abcdef".repeat(2))
        .env("MESSENGER_LISTEN", "127.0.0.1:0")
        .env("MESSENGER_DATA_DIR", folder)
        .envs(settings.iter().copied())
        .output()
        .expect("it runs")
}

#[test]
fn a_setting_that_is_wrong_is_named_in_one_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").expect("written");
    let file = file.to_str().expect("UTF-8");
    let busy = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let busy = busy.local_addr().map(|address| (address.to_string(), busy)).expect("bound");
    let cases = [
        ("MESSENGER_SERVICE_SECRET", "short", "MESSENGER_SERVICE_SECRET"),
        ("MESSENGER_SERVICE_SECRET", "", "MESSENGER_SERVICE_SECRET"),
        ("MESSENGER_LISTEN", "nowhere", "--listen"),
        ("MESSENGER_LISTEN", &busy.0, "--listen"),
        ("MESSENGER_DATA_DIR", file, "--data-dir"),
        ("DATABASE_URL", "mysql://localhost/x", "DATABASE_URL"),
        ("DATABASE_URL", "postgres://127.0.0.1:1/x", "DATABASE_URL"),
        ("MESSENGER_ACCESS_TOKEN_TTL", "16m", "--access-token-ttl"),
        ("MESSENGER_REFRESH_TOKEN_TTL", "soon", "--refresh-token-ttl"),
        ("MESSENGER_LOG", "loud=,x", "MESSENGER_LOG (--log)"),
    ];
    for (name, value, named) in cases {
        let output = auth(folder.path(), &[(name, value)]);
        let text = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{name}={value}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(named), "{text}");
    }
}

#[test]
fn the_settings_in_force_are_shown_without_secrets() {
    let output = Command::new(env!("CARGO_BIN_EXE_messenger-auth"))
        .env_clear()
        .env("DATABASE_URL", "postgres://me:hunter2@db/chat")
        .env("MESSENGER_SERVICE_SECRET", "0123456789abcdef".repeat(2))
        .args(["--print-config", "--access-token-ttl", "5m"])
        .output()
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success());
    assert!(text.contains("access-token-ttl = 300s") && text.contains("postgres://db/chat"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("ssss"), "{text}");
}
