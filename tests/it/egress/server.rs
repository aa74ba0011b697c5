//! Servers that say whatever a test wants, byte for byte.

use std::{
    future::pending,
    io::ErrorKind,
    net::{SocketAddr, TcpListener as Sentinel},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A server that counts its connections.
pub struct Server {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Gives each connection to `serve`.
    pub async fn start<F: Future<Output = ()> + Send + 'static>(
        ip: &str,
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                tokio::spawn(serve(stream));
            }
        });
        Self { address, connections }
    }

    /// Answers every request on every connection with these bytes, and leaves connections open.
    pub async fn answering(response: impl Into<Vec<u8>>) -> Self {
        let response: Arc<[u8]> = response.into().into();
        Self::start("127.0.0.1", move |mut stream| {
            let response = response.clone();
            async move {
                while read_head(&mut stream).await.is_some() {
                    if stream.write_all(&response).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }

    /// Answers with `begin`, and then with `again` for as long as it is read.
    pub async fn endless(begin: &'static [u8], again: &'static [u8]) -> Self {
        Self::start("127.0.0.1", move |mut stream| async move {
            read_head(&mut stream).await;
            let mut sent = stream.write_all(begin).await;
            let again = again.repeat(100);
            while sent.is_ok() {
                sent = stream.write_all(&again).await;
            }
        })
        .await
    }

    /// Answers with `begin` and then never says another word.
    pub async fn stalling(begin: &'static [u8]) -> Self {
        Self::start("127.0.0.1", move |mut stream| async move {
            stream.write_all(begin).await.expect("written");
            pending::<()>().await;
        })
        .await
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

/// Reads to the end of one request's head, and says it; nothing if the client has left.
pub async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// A listener that nobody may ever connect to.
pub fn sentinel(ip: &str) -> Sentinel {
    let listener = Sentinel::bind((ip, 0)).expect("a free port");
    listener.set_nonblocking(true).expect("a non-blocking listener");
    listener
}

/// Whether nobody has connected.
pub fn is_untouched(sentinel: &Sentinel) -> bool {
    sentinel.accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}
