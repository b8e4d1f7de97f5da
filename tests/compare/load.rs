//! A load generator for HTTP/1.1 whose latencies are those of clients that don't wait for each other (as wrk2's): requests have a schedule,
//! and the time of a response counts from the moment that its request was due, also if no connection was free then.
//! A server that stops for 100 ms therefore delays every request of these 100 ms, not just one for each connection.
//!
//! One thread, one epoll; a timer of the kernel (`timerfd`) for the schedule, as epoll's own timeout is in milliseconds.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::fs::Timespec;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// So many in each second, whatever the responses do.
    PerSecond(f64),
    /// The next one on a connection when the last was answered.
    Closed,
}

/// What a run has measured.
pub(crate) struct LoadResult {
    /// Of each response, in nanoseconds, sorted.
    latencies: Vec<u64>,
    pub(crate) per_second: f64,
}

impl LoadResult {
    pub(crate) fn count(&self) -> usize {
        self.latencies.len()
    }

    /// The latency that a share of the responses does not exceed, in milliseconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let at = (self.latencies.len() as f64 * share).ceil() as usize;
        self.latencies.get(at.max(1) - 1).map_or(f64::NAN, |nanos| *nanos as f64 / 1e6)
    }
}

/// How long the last responses may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Kept connections to one server.
pub(crate) struct Clients {
    epoll: OwnedFd,
    timer: OwnedFd,
    connections: Vec<Connection>,
    free: VecDeque<usize>,
    /// Where responses are read to.
    buffer: Box<[u8]>,
}

struct Connection {
    stream: TcpStream,
    /// When the request in progress was due.
    due: Instant,
    /// What has arrived of a head.
    head: Vec<u8>,
    /// What is missing of a body.
    left: usize,
}

/// The number that epoll reports for the timer.
const TIMER: u64 = u64::MAX;

impl Clients {
    /// Opens connections to a port of this machine. `None` if the server doesn't accept them.
    pub(crate) fn connect(port: u16, count: usize) -> Option<Clients> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).expect("an epoll");
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC);
        let timer = timer.expect("a timer");
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN).expect("added");
        let mut connections = Vec::with_capacity(count);
        for number in 0..count {
            let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            stream.set_nodelay(true).ok()?;
            stream.set_nonblocking(true).ok()?;
            epoll::add(&epoll, &stream, EventData::new_u64(number as u64), EventFlags::IN).expect("added");
            connections.push(Connection { stream, due: Instant::now(), head: Vec::new(), left: 0 });
        }
        let free = (0..count).collect();
        Some(Clients { epoll, timer, connections, free, buffer: vec![0; 256 << 10].into() })
    }

    /// Sends these requests again and again for some time, and waits for their responses. `None` if a response is missing, wrong
    /// or late: the server can't keep up.
    pub(crate) fn run(&mut self, requests: &[Vec<u8>], pace: Pace, time: Duration) -> Option<LoadResult> {
        let began = Instant::now();
        let expected = match pace {
            Pace::PerSecond(rate) => (rate * time.as_secs_f64()) as usize,
            Pace::Closed => usize::MAX,
        };
        let due = |number: usize, now: Instant| match pace {
            Pace::PerSecond(rate) => began + Duration::from_secs_f64(number as f64 / rate),
            Pace::Closed => now,
        };
        let is_over = |sent| sent >= expected || (sent > 0 && expected == usize::MAX && began.elapsed() >= time);
        let mut latencies = Vec::new();
        let (mut sent, mut events) = (0, [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 256]);
        loop {
            let now = Instant::now();
            while !is_over(sent)
                && due(sent, now) <= now
                && let Some(connection) = self.free.pop_front()
            {
                self.send(connection, &requests[sent % requests.len()], due(sent, now))?;
                sent += 1;
            }
            if is_over(sent) && self.free.len() == self.connections.len() {
                break;
            }
            if began.elapsed() > time + PATIENCE {
                return None;
            }
            let next = if is_over(sent) || self.free.is_empty() { now + PATIENCE } else { due(sent, now) };
            self.arm(next.saturating_duration_since(Instant::now()));
            let ready = epoll::wait(&self.epoll, &mut events, None).ok()?;
            for event in &events[..ready] {
                match event.data.u64() {
                    TIMER => drop(rustix::io::read(&self.timer, &mut [0; 8])),
                    number => {
                        if let Some(latency) = self.receive(number as usize)? {
                            latencies.push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
                        }
                    }
                }
            }
        }
        let per_second = latencies.len() as f64 / began.elapsed().as_secs_f64();
        latencies.sort_unstable();
        Some(LoadResult { latencies, per_second })
    }

    fn send(&mut self, number: usize, request: &[u8], due: Instant) -> Option<()> {
        let connection = &mut self.connections[number];
        connection.due = due;
        // A request is smaller than any socket's buffer.
        (connection.stream.write(request).ok()? == request.len()).then_some(())
    }

    /// Reads what has arrived on a connection; the latency once a response is complete.
    fn receive(&mut self, number: usize) -> Option<Option<Duration>> {
        let connection = &mut self.connections[number];
        let read = match connection.stream.read(&mut self.buffer) {
            Ok(0) => return None,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Some(None),
            Err(_) => return None,
        };
        let mut body = &self.buffer[..read];
        if connection.left == 0 {
            connection.head.extend_from_slice(body);
            let Some(end) = connection.head.windows(4).position(|end| end == b"\r\n\r\n") else {
                return Some(None);
            };
            let head = std::str::from_utf8(&connection.head[..end]).ok()?;
            let length = |line: &str| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            };
            let length = head.lines().find_map(length)?;
            if !head.starts_with("HTTP/1.1 200") {
                return None;
            }
            body = &body[body.len() - (connection.head.len() - end - 4).min(body.len())..];
            connection.left = length;
            connection.head.clear();
        }
        connection.left = connection.left.checked_sub(body.len())?;
        if connection.left > 0 {
            return Some(None);
        }
        self.free.push_back(number);
        Some(Some(connection.due.elapsed()))
    }

    fn arm(&self, after: Duration) {
        // Zero would disarm it.
        let nanos = after.max(Duration::from_nanos(1));
        let it_value = Timespec { tv_sec: nanos.as_secs() as i64, tv_nsec: i64::from(nanos.subsec_nanos()) };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).expect("set");
    }
}

/// Moves this thread, and the processes that it starts, to these cores.
pub(crate) fn pin(cores: &[usize]) {
    let mut set = rustix::thread::CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    rustix::thread::sched_setaffinity(None, &set).expect("set");
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;

    use super::*;

    /// A server for one connection, which waits before its first response.
    fn server(first: Duration, response: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            let mut stream = listener.accept().expect("a client").0;
            let lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
            for (number, _) in lines.map_while(Result::ok).filter(|line| line.is_empty()).enumerate() {
                std::thread::sleep(first * u32::from(number == 0));
                // In two parts, of which the first ends within the head.
                let (one, other) = response.split_at(response.len().min(20));
                let written = stream.write_all(one.as_bytes()).and_then(|()| stream.write_all(other.as_bytes()));
                if written.is_err() {
                    return;
                }
            }
        });
        port
    }

    fn run(port: u16, pace: Pace, time: Duration) -> Option<LoadResult> {
        Clients::connect(port, 1).expect("connected").run(&[b"GET / HTTP/1.1\r\n\r\n".to_vec()], pace, time)
    }

    /// A response that takes 200 ms delays all requests that are due in this time.
    #[test]
    fn waiting_counts() {
        let port = server(Duration::from_millis(200), "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
        let result = run(port, Pace::PerSecond(100.0), Duration::from_millis(400)).expect("responses");
        assert_eq!(result.count(), 40);
        // Eleven were due in the first 100 ms.
        assert!(result.quantile(1.0) >= 200.0 && result.quantile(30.0 / 40.0) >= 100.0);
    }

    #[test]
    fn responses() {
        let check = |response: &'static str, is_right: bool| {
            let result = run(server(Duration::ZERO, response), Pace::Closed, Duration::from_millis(20));
            assert_eq!(result.is_some_and(|result| result.count() > 0), is_right, "{response}");
        };
        check("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true);
        check("HTTP/1.1 200 OK\r\nX: y\r\nContent-Length:5\r\n\r\nhello", true);
        check("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", false);
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhello", false);
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false);
    }
}
