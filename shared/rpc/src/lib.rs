//! How contexts call each other: over the network or in process, nobody asks which.
//!
//! Client: [`RpcChannel`]. Server: [`routes`] adds authentication, policy, tracing, deadlines and panic safety to generated
//! servers, [`serve`] puts them on a socket. [`to_status`] and [`from_status`] carry the one `Error` across.

mod accept;
mod admission;
pub mod args;
mod attempts;
mod balance;
mod call;
mod caller;
mod channel;
mod connection;
pub mod convert;
mod credential;
mod health;
mod held;
pub mod keys;
mod policy;
mod process;
mod public;
mod refusals;
mod remote;
mod sends;
mod server;
mod status;
mod timely;
mod trace;
mod turns;
mod uncancelled;

pub use args::{ConnectArgs, Encrypted, GrpcArgs, Plaintext, Secret, ServeArgs, TokenNames};
pub use attempts::Attempts;
pub use call::{ServerAuth, routes};
pub use caller::{Caller, SESSION_ID, request_as, with_deadline};
pub use channel::{InProcessSlot, RpcChannel};
pub use convert::{from_timestamp, timestamp};
pub use credential::{ServiceCredential, Trust};
pub use health::HealthReporter;
pub use policy::Service;
pub use process::{Check, Process, Served};
pub use sends::{SendArgs, SendLimits, SendRates, at_least_one};
pub use server::{Port, serve};
pub use status::{from_rpc_status, from_status, to_rpc_status, to_status};
pub use trace::{TraceParent, join_request};
pub use turns::{TURN_WITHIN, Turn, Turns};

/// Bytes in one message, in either direction: what services set with `max_decoding_message_size`.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
