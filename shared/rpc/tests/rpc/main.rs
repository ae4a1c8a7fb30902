//! A generated server behind `routes`, reached in process and over TCP: both must look the same.

mod balance;
mod calls;
mod credentials;
mod follow;
mod server;
mod shapes;
mod traces;
