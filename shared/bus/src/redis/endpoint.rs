//! Where Redis is: at an address, or where its Sentinels say.

use redis::{
    Client, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, ProtocolVersion, RedisError, RedisResult, TlsMode,
    io::tcp::TcpSettings,
    sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType},
};

/// What Sentinels listen on when the URL says nothing else.
const SENTINEL_PORT: u16 = 26_379;

/// Where Redis is.
pub(super) enum Endpoint {
    Server(Client),
    Sentinels {
        sentinels: Vec<ConnectionInfo>,
        /// The name they know it by.
        master: String,
        /// How to connect to it, wherever it is.
        node: SentinelNodeConnectionInfo,
    },
}

impl Endpoint {
    pub(super) fn parse(url: &str) -> RedisResult<Self> {
        match url.split_once("+sentinel://") {
            Some((scheme @ ("redis" | "rediss"), rest)) => Self::behind_sentinels(scheme, rest),
            _ => {
                let server = url.into_connection_info()?;
                let redis = server.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
                Ok(Self::Server(Client::open(server.set_redis_settings(redis).set_tcp_settings(at_once()))?))
            }
        }
    }

    /// `[user:password@]host[:port][,host[:port]…]/master[?sentinel_auth=user:password]`
    fn behind_sentinels(scheme: &str, rest: &str) -> RedisResult<Self> {
        let (rest, sentinel_auth) = rest.split_once("?sentinel_auth=").unwrap_or((rest, ""));
        let (authority, master) = rest.split_once('/').unwrap_or((rest, ""));
        let (auth, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        if master.is_empty() || master.contains(['/', '?']) {
            return Err(RedisError::from((ErrorKind::InvalidClientConfig, "a URL of Sentinels ends in one master")));
        }
        let sentinel = |host: &str| server(scheme, sentinel_auth, host);
        let sentinels = hosts.split(',').map(sentinel).collect::<RedisResult<Vec<_>>>()?;
        // Whose address it is does not matter here.
        let of_master = server(scheme, auth, "master")?;
        let redis = of_master.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let mut node =
            SentinelNodeConnectionInfo::default().set_redis_connection_info(redis).set_tcp_settings(at_once());
        if scheme == "rediss" {
            node = node.set_tls_mode(TlsMode::Secure);
        }
        Ok(Self::Sentinels { sentinels, master: master.to_owned(), node })
    }

    /// Who is to be connected to now.
    pub(super) async fn client(&self) -> RedisResult<Client> {
        match self {
            Self::Server(client) => Ok(client.clone()),
            Self::Sentinels { sentinels, master, node } => {
                let (sentinels, master, node) = (sentinels.clone(), master.clone(), Some(node.clone()));
                SentinelClient::build(sentinels, master, node, SentinelServerType::Master)?.async_get_client().await
            }
        }
    }
}

fn server(scheme: &str, auth: &str, host: &str) -> RedisResult<ConnectionInfo> {
    let at = if auth.is_empty() { "" } else { "@" };
    // The colons of an IPv6 address stand in brackets.
    let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
    let port = if has_port { String::new() } else { format!(":{SENTINEL_PORT}") };
    format!("{scheme}://{auth}{at}{host}{port}").into_connection_info()
}

fn at_once() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_sentinels() {
        let url = "rediss+sentinel://me:p%40ss%2Fword@one:5000,[::1],two/chat?sentinel_auth=:other";
        let Ok(Endpoint::Sentinels { sentinels, master, node }) = Endpoint::parse(url) else { panic!("Sentinels") };
        let addresses: Vec<String> = sentinels.iter().map(|sentinel| sentinel.addr().to_string()).collect();
        assert_eq!(addresses, ["one:5000", "::1:26379", "two:26379"]);
        assert!(sentinels.iter().all(|sentinel| sentinel.redis_settings().password() == Some("other")));
        let node = format!("{node:?}");
        assert!(master == "chat" && node.contains("Secure") && node.contains("RESP3") && node.contains("me"), "{node}");
        for none in
            ["redis+sentinel://one", "redis+sentinel://one/", "redis+sentinel:///chat", "redis+sentinel://a/b/c"]
        {
            assert!(Endpoint::parse(none).is_err(), "{none}");
        }
        assert!(matches!(Endpoint::parse("redis://one"), Ok(Endpoint::Server(_))));
        assert!(Endpoint::parse("http+sentinel://one/chat").is_err());
    }
}
