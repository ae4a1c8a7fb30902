//! The gRPC contract: messages, clients and servers generated from the `.proto` files beside this crate.
#![allow(missing_docs, clippy::all, clippy::allow_attributes, reason = "generated code")]

/// Facts and the objects they are about.
pub mod event {
    pub mod v1 {
        tonic::include_proto!("messenger.event.v1");
    }
}
/// Identity.
pub mod auth {
    pub mod v1 {
        tonic::include_proto!("messenger.auth.v1");
    }
}
/// Conversations and participants.
pub mod conversation {
    pub mod v1 {
        tonic::include_proto!("messenger.conversation.v1");
    }
}
/// The journal, history, read positions and the feed.
pub mod message {
    pub mod v1 {
        tonic::include_proto!("messenger.message.v1");
    }
}

/// All files as a `FileDescriptorSet`, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
