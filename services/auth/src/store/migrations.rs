//! The steps of this context's schema.

use messenger_db::{Migration, Migrations};

pub const MIGRATIONS: Migrations = Migrations { postgres: &POSTGRES, sqlite: &SQLITE };

const POSTGRES: [Migration; 4] = [
    Migration {
        version: 1,
        name: "identity",
        sql: include_str!("../../../../migrations/auth/postgres/0001_identity.sql"),
    },
    Migration {
        version: 2,
        name: "other systems",
        sql: include_str!("../../../../migrations/auth/postgres/0002_other_systems.sql"),
    },
    Migration { version: 3, name: "places", sql: include_str!("../../../../migrations/auth/postgres/0003_places.sql") },
    Migration {
        version: 4,
        name: "revocations by user",
        sql: include_str!("../../../../migrations/auth/postgres/0004_revocations_by_user.sql"),
    },
];

const SQLITE: [Migration; 4] = [
    Migration {
        version: 1,
        name: "identity",
        sql: include_str!("../../../../migrations/auth/sqlite/0001_identity.sql"),
    },
    Migration {
        version: 2,
        name: "other systems",
        sql: include_str!("../../../../migrations/auth/sqlite/0002_other_systems.sql"),
    },
    Migration { version: 3, name: "places", sql: include_str!("../../../../migrations/auth/sqlite/0003_places.sql") },
    Migration {
        version: 4,
        name: "revocations by user",
        sql: include_str!("../../../../migrations/auth/sqlite/0004_revocations_by_user.sql"),
    },
];
