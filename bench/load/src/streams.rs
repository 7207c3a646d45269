//! Event streams that are open while something else is measured.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
};

/// How many are opened before the answers of the first are awaited.
const WAVE: usize = 100;

/// Opens `number` streams, prints "open", and reads them until the standard input ends.
///
/// # Errors
/// A stream that is refused, or ends.
pub fn hold(to: SocketAddr, key: &str, number: usize) -> io::Result<()> {
    let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: {to}\r\nX-Api-Key: {key}\r\n\r\n");
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut streams: Vec<TcpStream> = Vec::with_capacity(number);
    let mut piece = vec![0; 1 << 16];
    while streams.len() < number {
        let from = streams.len();
        for number in from..(from + WAVE).min(number) {
            let mut stream = TcpStream::connect(to)?;
            stream.write_all(request.as_bytes())?;
            epoll::add(&epoll, &stream, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
            streams.push(stream);
        }
        for stream in &mut streams[from..] {
            let read = stream.read(&mut piece)?;
            if !piece[..read].starts_with(b"HTTP/1.1 200") {
                return Err(io::Error::other(String::from_utf8_lossy(&piece[..read]).into_owned()));
            }
        }
    }
    println!("open");
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        std::process::exit(0);
    });
    let mut events = Vec::with_capacity(256);
    let wait = Timespec { tv_sec: 60, tv_nsec: 0 };
    loop {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&wait))?;
        for event in &events {
            if streams[event.data.u64() as usize].read(&mut piece)? == 0 {
                return Err(io::Error::other("a stream ended"));
            }
        }
    }
}
