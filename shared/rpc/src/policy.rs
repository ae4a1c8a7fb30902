//! Who may call what: one table, in which every call of every service stands. What is not in it is served to nobody.

use std::fmt;

use messenger_core::Error;

use crate::Caller;

/// A service that calls, as far as it matters for what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Identity.
    Auth,
    /// Conversations and participants.
    Conversation,
    /// The journal.
    Message,
    /// The edge.
    Gateway,
    /// One of the operator's own that is named in `--acting-services`: it may act for users.
    Acting,
    /// Any other of the operator's own.
    Other,
}

impl Service {
    /// Those of this program.
    pub const OURS: [Self; 4] = [Self::Auth, Self::Conversation, Self::Message, Self::Gateway];

    /// As certificates and `x-service` have it; the operator's own have names of their own.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Conversation => "conversation",
            Self::Message => "message",
            Self::Gateway => "gateway",
            Self::Acting => "acting",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who may make one call.
#[derive(Debug)]
pub(crate) struct Rule {
    /// An end user, for itself.
    users: bool,
    /// Services that act for a user.
    for_users: &'static [Service],
    /// Services that act for nobody.
    services: &'static [Service],
}

const NOBODY: &[Service] = &[];
const GATEWAY: &[Service] = &[Service::Gateway];
const ACTING: &[Service] = &[Service::Gateway, Service::Acting];
/// Whoever takes tokens of users has to know the keys, and which sessions have ended.
const VERIFIERS: &[Service] =
    &[Service::Conversation, Service::Message, Service::Gateway, Service::Acting, Service::Other];
const OWN: &[Service] = &[Service::Acting, Service::Other];

/// The account itself: services of the operator's own have no business with it.
const OF_ACCOUNT: Rule = Rule { users: true, for_users: GATEWAY, services: NOBODY };
/// The gateway limits guesses at a password: nobody goes past it.
const BY_GATEWAY: Rule = Rule { users: false, for_users: GATEWAY, services: NOBODY };
/// By whoever has no token yet.
const BEFORE_LOGIN: Rule = Rule { users: false, for_users: NOBODY, services: GATEWAY };
const OF_USER: Rule = Rule { users: true, for_users: ACTING, services: NOBODY };
const ABOUT_USERS: Rule =
    Rule { users: true, for_users: &[Service::Gateway, Service::Conversation, Service::Acting], services: OWN };
const OF_VERIFIERS: Rule = Rule { users: false, for_users: NOBODY, services: VERIFIERS };
/// By whoever was shown a token of another identity system.
const OF_OUR_VERIFIERS: Rule =
    Rule { users: false, for_users: NOBODY, services: &[Service::Conversation, Service::Message, Service::Gateway] };
/// By the operator's identity system.
const OF_ACTING: Rule = Rule { users: false, for_users: NOBODY, services: &[Service::Acting] };
const OF_GATEWAYS: Rule = Rule { users: false, for_users: NOBODY, services: ACTING };
const OF_CONVERSATION: Rule = Rule { users: false, for_users: NOBODY, services: &[Service::Conversation] };
/// A first message makes the conversation.
const OF_USER_OR_MESSAGE: Rule =
    Rule { users: true, for_users: &[Service::Gateway, Service::Message, Service::Acting], services: NOBODY };

/// By path, in the order of paths.
const RULES: &[(&str, Rule)] = &[
    ("/messenger.auth.v1.AuthService/AdmitUser", OF_OUR_VERIFIERS),
    ("/messenger.auth.v1.AuthService/BatchGetUsers", ABOUT_USERS),
    ("/messenger.auth.v1.AuthService/ChangePassword", BY_GATEWAY),
    ("/messenger.auth.v1.AuthService/DeactivateUser", OF_ACTING),
    ("/messenger.auth.v1.AuthService/GetJwks", OF_VERIFIERS),
    ("/messenger.auth.v1.AuthService/GetUser", ABOUT_USERS),
    ("/messenger.auth.v1.AuthService/ListSessions", OF_ACCOUNT),
    ("/messenger.auth.v1.AuthService/Login", BEFORE_LOGIN),
    ("/messenger.auth.v1.AuthService/Logout", OF_ACCOUNT),
    ("/messenger.auth.v1.AuthService/LogoutAll", OF_ACCOUNT),
    ("/messenger.auth.v1.AuthService/ReactivateUser", OF_ACTING),
    ("/messenger.auth.v1.AuthService/RefreshToken", BEFORE_LOGIN),
    ("/messenger.auth.v1.AuthService/Register", BEFORE_LOGIN),
    ("/messenger.auth.v1.AuthService/RevokeSession", OF_ACCOUNT),
    ("/messenger.auth.v1.AuthService/SearchUsers", ABOUT_USERS),
    ("/messenger.auth.v1.AuthService/UpdateUser", OF_ACCOUNT),
    ("/messenger.auth.v1.AuthService/UpsertUser", OF_ACTING),
    ("/messenger.auth.v1.AuthService/WatchRevocations", OF_VERIFIERS),
    ("/messenger.conversation.v1.ConversationService/AddParticipants", OF_USER),
    ("/messenger.conversation.v1.ConversationService/BatchGetConversations", OF_USER),
    ("/messenger.conversation.v1.ConversationService/CreateGroup", OF_USER),
    ("/messenger.conversation.v1.ConversationService/GetConversation", OF_USER),
    ("/messenger.conversation.v1.ConversationService/GetOrCreateP2p", OF_USER_OR_MESSAGE),
    ("/messenger.conversation.v1.ConversationService/ListConversations", OF_USER),
    ("/messenger.conversation.v1.ConversationService/ListParticipants", OF_USER),
    ("/messenger.conversation.v1.ConversationService/RemoveParticipant", OF_USER),
    ("/messenger.conversation.v1.ConversationService/UpdateConversation", OF_USER),
    ("/messenger.conversation.v1.ConversationService/UpdateParticipant", OF_USER),
    ("/messenger.message.v1.MessageService/AppendChanges", OF_CONVERSATION),
    ("/messenger.message.v1.MessageService/BatchGetConversationStates", OF_USER),
    ("/messenger.message.v1.MessageService/Follow", OF_GATEWAYS),
    ("/messenger.message.v1.MessageService/GetMessage", OF_USER),
    ("/messenger.message.v1.MessageService/ListConversations", OF_USER),
    ("/messenger.message.v1.MessageService/ListMessages", OF_USER),
    ("/messenger.message.v1.MessageService/ListReadPositions", OF_USER),
    ("/messenger.message.v1.MessageService/MarkRead", OF_USER),
    ("/messenger.message.v1.MessageService/Replay", OF_USER),
    ("/messenger.message.v1.MessageService/SendMessage", OF_USER),
    ("/messenger.message.v1.MessageService/SendMessages", OF_GATEWAYS),
    ("/messenger.message.v1.MessageService/Subscribe", OF_USER),
];

/// The rule of a call; none for what nobody may call.
pub(crate) fn rule(path: &str) -> Option<&'static Rule> {
    RULES.binary_search_by(|(listed, _)| (*listed).cmp(path)).ok().map(|index| &RULES[index].1)
}

impl Rule {
    /// Lets this caller make the call or not.
    ///
    /// # Errors
    /// FORBIDDEN; UNAUTHENTICATED for a service that has to name a user.
    pub(crate) fn admit(&self, caller: &Caller) -> Result<(), Error> {
        let (service, acts_for_user) = match *caller {
            Caller::User(_) if self.users => return Ok(()),
            Caller::User(_) => return Err(Error::forbidden("for services only")),
            Caller::Service { service, on_behalf_of } => (service, on_behalf_of.is_some()),
        };
        match (self.services.contains(&service), self.for_users.contains(&service)) {
            (true, _) if !acts_for_user => Ok(()),
            (_, true) if acts_for_user => Ok(()),
            (_, true) => Err(Error::unauthenticated("no user is named")),
            (true, false) => Err(Error::forbidden("not for a user")),
            (false, false) => Err(Error::forbidden(format!("not by this service ({service})"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use messenger_core::{SessionId, Timestamp, UserId};
    use messenger_identity::Identity;
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    fn every_call() -> Vec<String> {
        let files = FileDescriptorSet::decode(messenger_proto::FILE_DESCRIPTOR_SET).expect("our own");
        let mut paths = Vec::new();
        for file in &files.file {
            for service in &file.service {
                let calls = service
                    .method
                    .iter()
                    .map(|method| format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                paths.extend(calls);
            }
        }
        paths.sort();
        paths
    }

    #[test]
    fn every_call_has_its_rule_and_every_rule_its_call() {
        let listed: Vec<&str> = RULES.iter().map(|(path, _)| *path).collect();
        assert_eq!(every_call(), listed, "RULES has to have each call of the .proto files, in the order of paths");
    }

    /// Who may make a call: `u` a user for itself, then by letter which services act for a user (`for`) or for nobody.
    fn who_may(path: &str) -> String {
        let now = Timestamp::from_millis(1);
        let user = UserId::new(now);
        let identity = Identity { user_id: user, session_id: SessionId::new(now), issued_at: now, expires_at: now };
        let services = [
            (Service::Auth, 'a'),
            (Service::Conversation, 'c'),
            (Service::Message, 'm'),
            (Service::Gateway, 'g'),
            (Service::Acting, 'x'),
            (Service::Other, 'o'),
        ];
        let may = |caller| rule(path).is_some_and(|rule| rule.admit(&caller).is_ok());
        let by = |on_behalf_of| {
            let admitted =
                services.iter().filter(|(service, _)| may(Caller::Service { service: *service, on_behalf_of }));
            admitted.map(|(_, letter)| *letter).collect::<String>()
        };
        let user_may = if may(Caller::User(identity)) { "u" } else { "-" };
        format!("{user_may} for:{} by:{}", by(Some(user)), by(None))
    }

    #[test]
    fn who_may_make_each_call() {
        let table = [
            ("auth.v1.AuthService/AdmitUser", "- for: by:cmg"),
            ("auth.v1.AuthService/BatchGetUsers", "u for:cgx by:xo"),
            ("auth.v1.AuthService/ChangePassword", "- for:g by:"),
            ("auth.v1.AuthService/DeactivateUser", "- for: by:x"),
            ("auth.v1.AuthService/GetJwks", "- for: by:cmgxo"),
            ("auth.v1.AuthService/GetUser", "u for:cgx by:xo"),
            ("auth.v1.AuthService/ListSessions", "u for:g by:"),
            ("auth.v1.AuthService/Login", "- for: by:g"),
            ("auth.v1.AuthService/Logout", "u for:g by:"),
            ("auth.v1.AuthService/LogoutAll", "u for:g by:"),
            ("auth.v1.AuthService/ReactivateUser", "- for: by:x"),
            ("auth.v1.AuthService/RefreshToken", "- for: by:g"),
            ("auth.v1.AuthService/Register", "- for: by:g"),
            ("auth.v1.AuthService/RevokeSession", "u for:g by:"),
            ("auth.v1.AuthService/SearchUsers", "u for:cgx by:xo"),
            ("auth.v1.AuthService/UpdateUser", "u for:g by:"),
            ("auth.v1.AuthService/UpsertUser", "- for: by:x"),
            ("auth.v1.AuthService/WatchRevocations", "- for: by:cmgxo"),
            ("conversation.v1.ConversationService/AddParticipants", "u for:gx by:"),
            ("conversation.v1.ConversationService/BatchGetConversations", "u for:gx by:"),
            ("conversation.v1.ConversationService/CreateGroup", "u for:gx by:"),
            ("conversation.v1.ConversationService/GetConversation", "u for:gx by:"),
            ("conversation.v1.ConversationService/GetOrCreateP2p", "u for:mgx by:"),
            ("conversation.v1.ConversationService/ListConversations", "u for:gx by:"),
            ("conversation.v1.ConversationService/ListParticipants", "u for:gx by:"),
            ("conversation.v1.ConversationService/RemoveParticipant", "u for:gx by:"),
            ("conversation.v1.ConversationService/UpdateConversation", "u for:gx by:"),
            ("conversation.v1.ConversationService/UpdateParticipant", "u for:gx by:"),
            ("message.v1.MessageService/AppendChanges", "- for: by:c"),
            ("message.v1.MessageService/BatchGetConversationStates", "u for:gx by:"),
            ("message.v1.MessageService/Follow", "- for: by:gx"),
            ("message.v1.MessageService/GetMessage", "u for:gx by:"),
            ("message.v1.MessageService/ListConversations", "u for:gx by:"),
            ("message.v1.MessageService/ListMessages", "u for:gx by:"),
            ("message.v1.MessageService/ListReadPositions", "u for:gx by:"),
            ("message.v1.MessageService/MarkRead", "u for:gx by:"),
            ("message.v1.MessageService/Replay", "u for:gx by:"),
            ("message.v1.MessageService/SendMessage", "u for:gx by:"),
            ("message.v1.MessageService/SendMessages", "- for: by:gx"),
            ("message.v1.MessageService/Subscribe", "u for:gx by:"),
        ];
        assert_eq!(table.len(), RULES.len());
        for (call, expected) in table {
            assert_eq!(who_may(&format!("/messenger.{call}")), expected, "{call}");
        }
        assert_eq!(who_may("/messenger.auth.v1.AuthService/NoSuchCall"), "- for: by:");
    }
}
