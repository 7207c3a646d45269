//! sse-limit: the floor for SSE fan-out. One epoll thread, no HTTP library. Any GET subscribes (fixed head,
//! close-delimited stream), any POST publishes its body. Every message is framed once and written from the
//! same buffer to every socket. `--tick-ms T` collects messages for T ms and writes them with one writev.
//! A socket that would block is skipped (counted), never waited for.
use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
    time::Instant,
};
fn main() {
    let mut m: HashMap<String, String> = HashMap::new();
    let a: Vec<String> = std::env::args().skip(1).collect();
    let mut i = 0;
    while i + 1 < a.len() {
        m.insert(a[i].trim_start_matches("--").to_string(), a[i + 1].clone());
        i += 2
    }
    let addr = m.get("addr").cloned().unwrap_or("127.0.0.1:8080".into());
    let tick: u128 = m.get("tick-ms").map(|x| x.parse().unwrap()).unwrap_or(0) * 1000;
    unsafe {
        let l = libc::rlimit { rlim_cur: 20000, rlim_max: 20000 };
        libc::setrlimit(libc::RLIMIT_NOFILE, &l);
        libc::prctl(libc::PR_SET_TIMERSLACK, 1usize);
    }
    let l = TcpListener::bind(addr).unwrap();
    l.set_nonblocking(true).unwrap();
    unsafe { libc::listen(l.as_raw_fd(), 4096) };
    let ep = unsafe { libc::epoll_create1(0) };
    let add = |fd: i32, id: u64| {
        let mut ev = libc::epoll_event { events: libc::EPOLLIN as u32, u64: id };
        unsafe { libc::epoll_ctl(ep, libc::EPOLL_CTL_ADD, fd, &mut ev) };
    };
    add(l.as_raw_fd(), 0);
    let mut conns: HashMap<u64, (TcpStream, Vec<u8>)> = HashMap::new();
    let mut subs: Vec<(i32, u64)> = vec![];
    let mut id = 0u64;
    let mut skipped = 0u64;
    let mut evs = vec![libc::epoll_event { events: 0, u64: 0 }; 512];
    let mut buf = vec![0u8; 1 << 16];
    let mut pend: Vec<Vec<u8>> = vec![];
    let mut first = Instant::now();
    loop {
        let to = if tick == 0 || pend.is_empty() { -1 } else { (tick.saturating_sub(first.elapsed().as_micros())).div_ceil(1000) as i32 };
        let k = unsafe { libc::epoll_wait(ep, evs.as_mut_ptr(), 512, to) };
        for e in &evs[..k.max(0) as usize] {
            let c = e.u64;
            if c == 0 {
                while let Ok((s, _)) = l.accept() {
                    s.set_nonblocking(true).unwrap();
                    s.set_nodelay(true).unwrap();
                    id += 1;
                    add(s.as_raw_fd(), id);
                    conns.insert(id, (s, vec![]));
                }
                continue;
            }
            let Some((s, inb)) = conns.get_mut(&c) else { continue };
            let n = match s.read(&mut buf) {
                Ok(0) => {
                    subs.retain(|x| x.1 != c);
                    conns.remove(&c);
                    continue;
                }
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(_) => {
                    subs.retain(|x| x.1 != c);
                    conns.remove(&c);
                    continue;
                }
            };
            inb.extend_from_slice(&buf[..n]);
            while let Some(h) = memchr::memmem::find(inb, b"\r\n\r\n") {
                if inb[0] == b'G' {
                    let _ = s.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n");
                    subs.push((s.as_raw_fd(), c));
                    inb.clear();
                    break;
                }
                let cl: usize = {
                    let hd = String::from_utf8_lossy(&inb[..h]).to_ascii_lowercase();
                    hd.split("content-length:").nth(1).map(|x| x.split("\r\n").next().unwrap().trim().parse().unwrap()).unwrap_or(0)
                };
                if inb.len() < h + 4 + cl {
                    break;
                }
                let mut f = Vec::with_capacity(cl + 16);
                f.extend_from_slice(b"data: ");
                f.extend_from_slice(&inb[h + 4..h + 4 + cl]);
                f.extend_from_slice(b"\n\n");
                inb.drain(..h + 4 + cl);
                let _ = s.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
                if pend.is_empty() {
                    first = Instant::now()
                }
                pend.push(f);
            }
        }
        if !pend.is_empty() && (tick == 0 || first.elapsed().as_micros() >= tick) {
            let all: usize = pend.iter().map(|p| p.len()).sum();
            for ch in pend.chunks(512) {
                let iov: Vec<libc::iovec> = ch.iter().map(|p| libc::iovec { iov_base: p.as_ptr() as *mut _, iov_len: p.len() }).collect();
                for (fd, _) in &subs {
                    let w = unsafe {
                        if iov.len() == 1 {
                            libc::send(*fd, iov[0].iov_base, iov[0].iov_len, libc::MSG_NOSIGNAL)
                        } else {
                            libc::writev(*fd, iov.as_ptr(), iov.len() as i32)
                        }
                    };
                    if w < all as isize {
                        skipped += 1;
                        if skipped % 100000 == 1 {
                            eprintln!("skipped {skipped}")
                        }
                    }
                }
            }
            pend.clear();
        }
    }
}
