//! A name server on this machine that says whatever a test wants, over UDP and TCP.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Notify,
};

const NO_ERROR: u8 = 0;
/// An answer that the server has cut, in the second byte of flags.
const TRUNCATED: u8 = 2;

/// What a name server says to one question for the addresses of a name. To the other family's it says that there are none.
#[derive(Clone, Debug)]
pub enum Reply {
    /// These addresses, valid for no time at all.
    Addresses(Vec<IpAddr>),
    /// These, valid for an hour.
    Lasting(Vec<IpAddr>),
    /// Another name, and that name's addresses.
    Alias(&'static str, Vec<IpAddr>),
    /// An error.
    Code(u8),
    /// "Ask again over TCP", and what is said there.
    OverTcp(Box<Reply>),
    /// The question's id, and then these bytes.
    Garbage(Vec<u8>),
    /// These addresses, for a question with another id.
    Foreign(Vec<IpAddr>),
    /// The reply, after a while.
    Late(Duration, Box<Reply>),
    /// Nothing.
    Silence,
}

impl Reply {
    fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Addresses(addresses)
            | Self::Lasting(addresses)
            | Self::Alias(_, addresses)
            | Self::Foreign(addresses) => addresses,
            Self::OverTcp(reply) | Self::Late(_, reply) => reply.addresses(),
            Self::Code(_) | Self::Garbage(_) | Self::Silence => &[],
        }
    }
}

/// A name server on this machine.
pub struct NameServer {
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    replies: Vec<Reply>,
    questions: AtomicUsize,
    names: Mutex<Vec<String>>,
    late: Notify,
}

impl NameServer {
    /// Gives the replies in their order, and the last one for ever. One question for addresses counts once, whichever
    /// family's it is that the reply has.
    pub async fn start(replies: Vec<Reply>) -> Self {
        let (socket, listener) = sockets().await;
        let address = socket.local_addr().expect("an address");
        let (questions, names, late) = (AtomicUsize::new(0), Mutex::default(), Notify::new());
        let state = Arc::new(State { replies, questions, names, late });
        tokio::spawn(udp(socket, state.clone()));
        tokio::spawn(tcp(listener, state.clone()));
        Self { address, state }
    }

    pub fn questions(&self) -> usize {
        self.state.questions.load(SeqCst)
    }

    /// The last name that was asked for.
    pub fn asked(&self) -> Option<String> {
        self.state.names.lock().expect("a lock").last().cloned()
    }

    /// Waits until a late reply is on its way.
    pub async fn late(&self) {
        self.state.late.notified().await;
    }
}

/// A port that is free for both.
async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        if let Ok(listener) = TcpListener::bind(socket.local_addr().expect("an address")).await {
            return (socket, listener);
        }
    }
}

async fn udp(socket: UdpSocket, state: Arc<State>) {
    let socket = Arc::new(socket);
    let mut packet = [0; 1_500];
    while let Ok((length, from)) = socket.recv_from(&mut packet).await {
        let (asked, socket, state) = (packet[..length].to_vec(), socket.clone(), state.clone());
        tokio::spawn(async move {
            if let Some(answer) = state.answer(&asked, false).await {
                socket.send_to(&answer, from).await.expect("sent");
            }
        });
    }
}

async fn tcp(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(talk(stream, state.clone()));
    }
}

async fn talk(mut stream: TcpStream, state: Arc<State>) -> Option<()> {
    loop {
        let mut asked = vec![0; stream.read_u16().await.ok()?.into()];
        stream.read_exact(&mut asked).await.ok()?;
        let answer = state.answer(&asked, true).await?;
        stream.write_u16(answer.len().try_into().ok()?).await.ok()?;
        stream.write_all(&answer).await.ok()?;
    }
}

impl State {
    async fn answer(&self, asked: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
        let question = question(asked);
        let family = question[question.len() - 3];
        let at = self.questions.load(SeqCst);
        let mut reply = self.replies.get(at).or(self.replies.last()).cloned().expect("a reply");
        let mine = match reply.addresses().first() {
            Some(address) => family == record_type(*address),
            None => family == 1,
        };
        if !mine {
            return Some(message(&asked[..2], question, NO_ERROR, None, &[], 0));
        }
        self.names.lock().expect("a lock").push(name(question));
        // What is asked again over TCP is the same question.
        if over_tcp || !matches!(reply, Reply::OverTcp(_)) {
            self.questions.fetch_add(1, SeqCst);
        }
        if let Reply::Late(pause, inner) = reply {
            tokio::time::sleep(pause).await;
            self.late.notify_one();
            reply = *inner;
        }
        if let (Reply::OverTcp(inner), true) = (&reply, over_tcp) {
            reply = *inner.clone();
        }
        let id = &asked[..2];
        Some(match reply {
            Reply::Addresses(addresses) => message(id, question, NO_ERROR, None, &addresses, 0),
            Reply::Lasting(addresses) => lasting(message(id, question, NO_ERROR, None, &addresses, 0), question.len()),
            Reply::Alias(alias, addresses) => message(id, question, NO_ERROR, Some(alias), &addresses, 0),
            Reply::Code(code) => message(id, question, code, None, &[], 0),
            Reply::OverTcp(_) => message(id, question, NO_ERROR, None, &[], TRUNCATED),
            Reply::Garbage(bytes) => [id, &bytes].concat(),
            Reply::Foreign(addresses) => message(&[id[0], !id[1]], question, NO_ERROR, None, &addresses, 0),
            Reply::Late(..) | Reply::Silence => return None,
        })
    }
}

/// The name, type and class that a packet asks for.
fn question(packet: &[u8]) -> &[u8] {
    let mut end = 12;
    while packet[end] != 0 {
        end += usize::from(packet[end]) + 1;
    }
    &packet[12..end + 5]
}

/// The name of a question, as text.
fn name(question: &[u8]) -> String {
    let (mut labels, mut at) = (Vec::new(), 0);
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..end]).into_owned());
        at = end;
    }
    labels.join(".")
}

fn record_type(address: IpAddr) -> u8 {
    if address.is_ipv4() { 1 } else { 28 }
}

/// The same message with an hour for each of its records, which are IPv4 addresses.
fn lasting(mut message: Vec<u8>, question: usize) -> Vec<u8> {
    for record in message[12 + question..].chunks_exact_mut(16) {
        record[6..10].copy_from_slice(&3_600_u32.to_be_bytes());
    }
    message
}

fn message(id: &[u8], question: &[u8], code: u8, alias: Option<&str>, addresses: &[IpAddr], flags: u8) -> Vec<u8> {
    let records = u16::try_from(addresses.len() + usize::from(alias.is_some())).expect("few records");
    let [high, low] = records.to_be_bytes();
    let mut packet = [id, &[0x81 | flags, 0x80 | code, 0, 1, high, low, 0, 0, 0, 0], question].concat();
    let mut owner = vec![0xc0, 12];
    if let Some(alias) = alias {
        let mut name: Vec<u8> =
            alias.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
        name.push(0);
        packet.extend([&owner[..], &[0, 5, 0, 1, 0, 0, 0, 0, 0, name.len() as u8], &name].concat());
        owner = name;
    }
    for address in addresses {
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let head = [0, record_type(*address), 0, 1, 0, 0, 0, 0, 0, octets.len() as u8];
        packet.extend([&owner[..], &head, &octets].concat());
    }
    packet
}
