//! A TCP link that can be cut and mended, as networks do.

use std::net::{SocketAddr, ToSocketAddrs as _};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Forwards connections while it is whole.
pub struct Link {
    /// Where it is connected to.
    pub address: SocketAddr,
    whole: watch::Sender<bool>,
}

impl Link {
    /// A whole one.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (whole, watched) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, server, watched.clone()));
            }
        });
        Self { address, whole }
    }

    /// One to the server of a URL, and the URL by way of it.
    ///
    /// # Panics
    /// When the URL names no server with its port, or no port is free.
    pub async fn to_url(url: &str) -> (Self, String) {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let at = if user.is_empty() { "" } else { "@" };
        let link = Self::to(host.to_socket_addrs().expect("host and port").next().expect("an address")).await;
        let through = format!("{scheme}://{user}{at}{}/{path}", link.address);
        (link, through)
    }

    /// Ends every connection and takes none.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// From now on connections are forwarded again.
    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

async fn forward(mut client: TcpStream, server: SocketAddr, mut whole: watch::Receiver<bool>) {
    if !*whole.borrow_and_update() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = whole.changed() => {}
    }
}
