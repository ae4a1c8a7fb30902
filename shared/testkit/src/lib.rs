//! For tests only: real clusters of real processes on free ports, temporary databases, and one client that speaks
//! either transport. Nothing here stands in for a part of the product.

pub mod api;
pub mod beside;
pub mod client;
pub mod cluster;
pub mod database;
pub mod identity_system;
pub mod link;
pub mod plan;
pub mod privacy;
pub mod process;

pub use api::{Api, User};
pub use beside::{Beside, Tolerates};
pub use client::{Event, TestClient, Wire};
pub use cluster::Cluster;
pub use identity_system::{IdentityKey, IdentitySystem};
pub use link::Link;
pub use plan::{Bus, Instance, Part, Settings, Shape, Size};
