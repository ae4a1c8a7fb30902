//! A generated server behind `routes`, reached in process and over TCP: both must look the same.

mod ages;
mod balance;
mod calls;
mod credentials;
mod encrypted;
mod floods;
mod follow;
mod hostile;
mod neighbour;
mod refusals;
mod server;
mod shapes;
mod traces;
mod wire;
