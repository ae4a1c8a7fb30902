//! The description of the API: what the routes do not say of themselves.

use utoipa::ToSchema;
use utoipa::openapi::{
    Components, Content, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder,
    path::{Operation, PathItem},
    security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    tag::TagBuilder,
};

use crate::problem::{Field, ProblemBody};

/// In the order a reader meets them.
const TAGS: [&str; 7] = ["auth", "users", "conversations", "participants", "messages", "sync", "operations"];
const BEARER: &str = "bearer";
const PROBLEM_TYPE: &str = "application/problem+json";

/// Title, version and the bearer token every operation wants unless it says otherwise.
pub(super) fn base() -> OpenApi {
    let mut components = Components::new();
    components.add_security_scheme(BEARER, SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    let info = InfoBuilder::new().title("Messenger").version(env!("CARGO_PKG_VERSION")).description(Some(
        "Conversations between two users and in groups. Errors are RFC 9457 problems with a stable `code`.",
    ));
    OpenApiBuilder::new()
        .info(info)
        .tags(Some(TAGS.map(|name| TagBuilder::new().name(name).build())))
        .components(Some(components))
        .security(Some([SecurityRequirement::new(BEARER, Vec::<String>::new())]))
        .build()
}

/// Adds the errors every operation may answer with.
pub(super) fn with_problems(mut description: OpenApi) -> OpenApi {
    let components = description.components.get_or_insert_default();
    let mut schemas = vec![(ProblemBody::name().into_owned(), <ProblemBody as utoipa::PartialSchema>::schema())];
    <ProblemBody as ToSchema>::schemas(&mut schemas);
    schemas.push((Field::name().into_owned(), <Field as utoipa::PartialSchema>::schema()));
    components.schemas.extend(schemas);
    for (path, item) in &mut description.paths.paths {
        let names_something = path.contains('{');
        for operation in operations(item) {
            describe(operation, names_something);
        }
    }
    description
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, patch, delete, .. } = item;
    [get, put, post, patch, delete].into_iter().flatten()
}

fn describe(operation: &mut Operation, names_something: bool) {
    let mut errors = vec![
        ("400", "VALIDATION_FAILED and its like: see `fields`"),
        ("429", "RATE_LIMITED: see Retry-After"),
        ("500", "INTERNAL"),
        ("503", "UNAVAILABLE: try again, see Retry-After"),
    ];
    if operation.security.is_none() {
        errors.push(("401", "UNAUTHENTICATED, TOKEN_EXPIRED or TOKEN_REVOKED"));
    }
    if names_something {
        errors.push(("404", "NOT_FOUND: not there, or not for the caller to know of"));
    }
    for (status, description) in errors {
        let schema = RefOr::Ref(Ref::from_schema_name(ProblemBody::name()));
        let response =
            ResponseBuilder::new().description(description).content(PROBLEM_TYPE, Content::new(Some(schema)));
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| response.build().into());
    }
}
