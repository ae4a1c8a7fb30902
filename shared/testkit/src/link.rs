//! A TCP link that can be cut, mended and silenced, as networks do.

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
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    Cut,
    /// What was connected before is, and hears nothing any more.
    Silenced,
}

impl Link {
    /// A whole one.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (state, watched) = watch::channel(State::Whole);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, server, watched.clone()));
            }
        });
        Self { address, state }
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
        self.state.send_replace(State::Cut);
    }

    /// From now on connections are forwarded again.
    pub fn mend(&self) {
        self.state.send_replace(State::Whole);
    }

    /// The connections there are stay open, and nothing comes through them any more: as when the host at the other end is
    /// gone and another one has its address. New ones are forwarded.
    pub fn silence(&self) {
        self.state.send_replace(State::Silenced);
    }
}

async fn forward(mut client: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>) {
    if *state.borrow_and_update() == State::Cut {
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        _ = state.changed() => {}
    }
    if *state.borrow() == State::Silenced {
        let _ = state.wait_for(|state| *state == State::Cut).await;
    }
}
