//! Many values bound as one.

use messenger_core::Id;
use serde::Serialize;
use sqlx::{
    Encode, Postgres, Sqlite, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgTypeInfo},
    sqlite::{SqliteArgumentsBuffer, SqliteTypeInfo},
};
use uuid::Uuid;

/// An array in PostgreSQL: `id = ANY($1)`, `FROM unnest($1) AS value`. SQLite has none, there it is JSON:
/// `FROM json_each($1)` has a row for each with its `value`, of a UUID `unhex(value, '-')`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<K> From<&[Id<K>]> for List<Uuid> {
    fn from(ids: &[Id<K>]) -> Self {
        Self(ids.iter().map(|id| id.uuid()).collect())
    }
}

impl<T> Type<Postgres> for List<T>
where
    Vec<T>: Type<Postgres>,
{
    fn type_info() -> PgTypeInfo {
        Vec::type_info()
    }
}

impl<'v, T> Encode<'v, Postgres> for List<T>
where
    Vec<T>: Encode<'v, Postgres>,
{
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        self.0.encode_by_ref(buffer)
    }
}

impl<T> Type<Sqlite> for List<T> {
    fn type_info() -> SqliteTypeInfo {
        <String as Type<Sqlite>>::type_info()
    }
}

impl<'v, T: Serialize> Encode<'v, Sqlite> for List<T> {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Sqlite>::encode(serde_json::to_string(&self.0)?, buffer)
    }
}
