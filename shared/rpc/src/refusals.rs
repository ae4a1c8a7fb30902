//! Calls that were refused, for those who must account for them.

use std::net::IpAddr;

use http::request::Parts;
use messenger_core::Error;
use messenger_telemetry::{Audit, AuditLimit};

use crate::{Caller, accept::Peer, policy};

const CALL_REFUSED: &str = "call.refused";

/// Records them, within a limit for each kind of caller: a flood of one leaves the others their records.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    of_services: AuditLimit,
    of_users: AuditLimit,
    of_strangers: AuditLimit,
}

impl Refusals {
    /// A call by somebody who proved to be nobody: the error, passed on.
    pub(crate) fn by_stranger<T>(&self, request: &Parts, error: Error) -> Result<T, Error> {
        Audit::of(CALL_REFUSED)
            .peer(address(request))
            .method(method(request))
            .outcome_within(&self.of_strangers, Err(error))
    }

    /// A call its caller may not make: the error, passed on.
    pub(crate) fn by_caller<T>(&self, caller: Caller, request: &Parts, error: Error) -> Result<T, Error> {
        let audit = Audit::of(CALL_REFUSED).method(method(request));
        match caller {
            Caller::User(identity) => {
                audit.by(identity.user_id).session(identity.session_id).outcome_within(&self.of_users, Err(error))
            }
            Caller::Service { service, on_behalf_of } => {
                let name = Caller::service_name(request);
                audit
                    .by(on_behalf_of)
                    .service(name.as_ref().map_or(service.name(), |name| name.as_str()))
                    .peer(address(request))
                    .outcome_within(&self.of_services, Err(error))
            }
        }
    }
}

/// None for a call there is not: its path is a stranger's words.
fn method(request: &Parts) -> Option<&str> {
    let path = request.uri.path();
    policy::rule(path).map(|_| path)
}

/// None within the process.
fn address(request: &Parts) -> Option<IpAddr> {
    request.extensions.get::<Peer>()?.address
}
