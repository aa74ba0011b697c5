//! Connections that wait for their next request.
//!
//! Guarantees: a connection serves only the grant, origin, address and caps that it was made for; the number and the
//! age of idle connections are bounded, and who has many of them makes room for who has few; no lock is held across an await.
//!
//! Leaves to others: the policy, which is asked for every request and not for every connection (`permit`).

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{ResponseCaps, connection::Connection, grant::Grant, origin::Origin};

/// Idle connections of one host process: a quarter of the files that the default configuration may use.
const MAX_IDLE: usize = 1_024;
/// Idle connections for one key: twice what one busy destination has in flight, 32 invocations with four requests each. With 64, one in
/// some tens of its requests opened a connection anew.
const MAX_IDLE_EACH: usize = 256;
/// How long a connection may wait. Most servers close after 60 to 75 seconds; closing first avoids the race.
const MAX_AGE: Duration = Duration::from_secs(30);
/// How often expired connections are looked for, at most; each look costs a walk over all keys.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// For whom a connection is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Key {
    /// Whose policy let it be made.
    pub grant: Grant,
    /// Scheme, name and port.
    pub origin: Origin,
    /// Where it leads.
    pub address: SocketAddr,
    /// The bounds that its parser was made with.
    pub caps: ResponseCaps,
}

/// All idle connections.
pub struct Pool {
    idle: Mutex<Idle>,
    most: usize,
    most_each: usize,
}

impl Default for Pool {
    fn default() -> Self {
        Self { idle: Mutex::default(), most: MAX_IDLE, most_each: MAX_IDLE_EACH }
    }
}

#[derive(Default)]
struct Idle {
    waiting: HashMap<Key, Vec<(Instant, Connection)>>,
    count: usize,
    swept: Option<Instant>,
}

impl Pool {
    /// The connection for this key that waited shortest. It may have ended meanwhile.
    pub fn take(&self, key: &Key) -> Option<Connection> {
        let now = Instant::now();
        let (found, expired) = {
            let mut idle = self.lock();
            let expired = idle.sweep(now);
            let found = idle.waiting.get_mut(key).and_then(Vec::pop);
            idle.count -= usize::from(found.is_some());
            (found, expired)
        };
        drop(expired);
        found.filter(|(since, _)| now.duration_since(*since) < MAX_AGE).map(|(_, connection)| connection)
    }

    /// Lets a connection wait, or closes it where enough are waiting.
    pub fn put(&self, key: Key, connection: Connection) {
        let now = Instant::now();
        let mut idle = self.lock();
        let expired = idle.sweep(now);
        let room = if idle.count < self.most { Room::Free } else { idle.make_room(&key) };
        if !matches!(room, Room::None) {
            let waiting = idle.waiting.entry(key).or_default();
            if waiting.len() < self.most_each {
                waiting.push((now, connection));
                idle.count += 1;
            }
        }
        drop(idle);
        drop((expired, room));
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        // Nothing panics while it holds the lock; if something did, the map would still be whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether one more connection may wait.
enum Room {
    Free,
    /// After this one went, to be closed outside the lock.
    Made {
        _closed: (Instant, Connection),
    },
    None,
}

impl Idle {
    /// Takes out the connection that waits longest of whoever has most of them, if that is more than this one has.
    fn make_room(&mut self, than: &Key) -> Room {
        let than = self.waiting.get(than).map_or(0, Vec::len);
        let most = self.waiting.iter().max_by_key(|(_, waiting)| waiting.len());
        let Some(key) = most.filter(|(_, waiting)| waiting.len() > than).map(|(key, _)| key.clone()) else {
            return Room::None;
        };
        let Some(waiting) = self.waiting.get_mut(&key) else { return Room::None };
        let closed = waiting.remove(0);
        if waiting.is_empty() {
            self.waiting.remove(&key);
        }
        self.count -= 1;
        Room::Made { _closed: closed }
    }

    /// Takes out what has waited too long, to be closed outside the lock.
    fn sweep(&mut self, now: Instant) -> Vec<Vec<(Instant, Connection)>> {
        if self.swept.is_some_and(|swept| now.duration_since(swept) < SWEEP_EVERY) {
            return Vec::new();
        }
        self.swept = Some(now);
        let mut expired = Vec::new();
        self.waiting.retain(|_, waiting| {
            // The oldest stand first.
            let fresh = waiting.partition_point(|(since, _)| now.duration_since(*since) >= MAX_AGE);
            if fresh > 0 {
                expired.push(waiting.drain(..fresh).collect());
            }
            !waiting.is_empty()
        });
        self.count -= expired.iter().map(Vec::len).sum::<usize>();
        expired
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::egress::meter::Stream;

    #[tokio::test]
    async fn who_keeps_many_connections_waiting_makes_room_for_who_keeps_few() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let caps = ResponseCaps { body_bytes: 1, headers: 1, header_bytes: 1 };
        let key = |scope: String| Key {
            grant: Grant::new(&[], &serde_json::Map::new(), &scope).expect("a grant"),
            origin: Origin::parse("https://a.example").expect("an origin"),
            address,
            caps,
        };
        let connect = async || {
            let (stream, _) = tokio::join!(TcpStream::connect(address), listener.accept());
            Connection::start(Stream::Plain(stream.expect("connected")), &caps).await.expect("a connection")
        };
        let (most, most_each) = (16, 4);
        let pool = Pool { most, most_each, ..Pool::default() };
        let waiting = |scope: &str| pool.lock().waiting.get(&key(scope.to_owned())).map_or(0, Vec::len);
        for at in 0..most {
            pool.put(key(format!("many {}", at / most_each)), connect().await);
        }
        for _ in 0..2 {
            pool.put(key("few".to_owned()), connect().await);
        }
        assert_eq!((waiting("few"), pool.lock().count), (2, most));
        // Who has most gets no more.
        pool.put(key("many 0".to_owned()), connect().await);
        let many: usize = (0..4).map(|at| waiting(&format!("many {at}"))).sum();
        assert_eq!((many, pool.lock().count), (most - 2, most));
    }
}
