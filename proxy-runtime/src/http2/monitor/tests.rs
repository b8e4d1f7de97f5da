//! Tests of the monitor: frames, and its verdicts.

use super::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    [&[0, 0, payload.len() as u8, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

fn headers(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, block)
}

/// Checks the result of frames, passed whole or byte by byte: the marked streams, or the violation. Streams 1, 3 and 5 are open for
/// servers.
fn check(from: PeerRole, frames: &[Vec<u8>], expected: Result<&[u32], Violation>) {
    let (preface, bytes) = (vec![0; if from == PeerRole::Client { PREFACE } else { 0 }], frames.concat());
    let bytes = [preface, bytes].concat();
    for size in [usize::MAX, 1, 7] {
        let monitor = Monitor::new(from, 250);
        if from == PeerRole::Server {
            monitor.sent(
                &[vec![0; PREFACE], settings(), headers(1, 1, b""), headers(1, 3, b""), headers(1, 5, b"")].concat(),
            );
        }
        let outcome = bytes.chunks(size).try_for_each(|part| monitor.received(part));
        let marked: Vec<u32> = [1, 3, 5].into_iter().filter(|&stream| monitor.is_malformed(stream)).collect();
        assert_eq!(outcome.map(|()| &marked[..]), expected, "{frames:x?} in parts of {size}");
        assert_eq!(monitor.cut(), expected.err());
    }
}

#[test]
fn responses() {
    let check = |frames: &[Vec<u8>], expected: Result<&[u32], Violation>| {
        check(PeerRole::Server, &[&[settings()], frames].concat(), expected);
    };
    let data = |flags, stream| frame(DATA, flags, stream, b"ok");
    check(&[headers(0, 1, b"\x88"), data(1, 1), headers(1, 3, b"\x8d")], Ok(&[]));
    check(&[headers(0, 1, b"\x88"), data(0, 1), headers(1, 1, b"\x00\x01x\x01y")], Ok(&[]));
    check(&[headers(0, 1, b"\x08\x03103"), headers(0, 1, b"\x08\x03103"), headers(1, 1, b"\x88")], Ok(&[]));
    // Pseudo-header fields of requests.
    check(&[headers(0, 1, b"\x88\x84"), headers(1, 3, b"\x88")], Ok(&[1]));
    check(&[headers(0, 1, b"\x08\x03103\x84"), headers(1, 1, b"\x88")], Ok(&[1]));
    check(&[headers(1, 1, b"\x88\x82"), headers(1, 5, b"\x88\x86")], Ok(&[1, 5]));
    // Trailers.
    check(&[headers(0, 1, b"\x88"), headers(1, 1, b"\x84")], Ok(&[1]));
    check(&[headers(0, 1, b"\x88"), headers(1, 1, b"\x88")], Ok(&[1]));
    check(&[headers(0, 1, b"\x88"), headers(1, 1, b"\x08\x03103")], Ok(&[1]));
    check(&[headers(0, 1, b"\x88"), data(0, 1), headers(1, 3, b"\x88"), headers(1, 1, b"\x88")], Ok(&[1]));
    // Streams that have ended or never existed.
    check(&[headers(1, 1, b"\x88"), headers(1, 1, b"\x88\x84"), headers(1, 7, b"\x84")], Ok(&[]));
    check(&[frame(RST_STREAM, 0, 1, &[0; 4]), headers(1, 1, b"\x88\x84")], Ok(&[]));
}

#[test]
fn requests() {
    let check = |frames: &[Vec<u8>], expected: Result<&[u32], Violation>| {
        check(PeerRole::Client, &[&[settings()], frames].concat(), expected);
    };
    let get = b"\x82\x86\x84\x41\x01x";
    check(&[headers(1, 1, get), headers(1, 3, get)], Ok(&[]));
    check(&[headers(0, 1, get), headers(0, 3, get), headers(1, 1, b"\x00\x01x\x01y")], Ok(&[]));
    check(&[headers(0, 1, get), headers(0, 3, get), headers(1, 1, b"\x84")], Ok(&[1]));
    check(&[headers(0, 1, get), headers(1, 1, b"\x88")], Ok(&[1]));
    check(&[headers(0, 1, get), headers(1, 1, b"\xbe")], Ok(&[1]));
}

#[test]
fn blocks_in_parts() {
    let parts = |flags: u8, first: &[u8], more: &[&[u8]]| {
        let mut frames = vec![settings(), frame(HEADERS, flags, 1, first)];
        for (at, part) in more.iter().enumerate() {
            frames.push(frame(CONTINUATION, if at + 1 == more.len() { END_HEADERS } else { 0 }, 1, part));
        }
        frames
    };
    let check = |frames: &[Vec<u8>], expected: Result<&[u32], Violation>| check(PeerRole::Server, frames, expected);
    check(&parts(0, b"\x88\x00\x05:p", &[b"ath", b"", b"\x01/"]), Ok(&[1]));
    check(&parts(0, b"\x88\x00\x05.p", &[b"ath", b"", b"\x01/"]), Ok(&[]));
    check(&parts(0, b"", &[b"\x88"]), Ok(&[]));
    check(&parts(PADDED, b"\x02\x88\x84\x84", &[b""]), Ok(&[]));
    check(&parts(PADDED, b"\x01\x88\x84\x84", &[b""]), Ok(&[1]));
    check(&parts(PRIORITY, b"\0\0\0\x03\x09\x88", &[b""]), Ok(&[]));
    check(&parts(PRIORITY, b"\0\0\0\x03\x09\x88\x84", &[b""]), Ok(&[1]));
    check(&parts(PADDED | PRIORITY, b"\x01\0\0\0\x03\x09\x88\x84", &[b""]), Ok(&[]));
    check(&parts(PADDED | PRIORITY, b"\x01\x80\0\0\x01\x09\x88\x84", &[b""]), Err(Violation::Protocol));
    check(&parts(PRIORITY, b"\0\0\0\x01\x09\x88", &[b""]), Err(Violation::Protocol));
    check(&parts(0, b"\x88\x00", &[b""]), Err(Violation::Compression));
    check(&parts(0, b"\x88\xbe", &[b""]), Err(Violation::Compression));
    check(&parts(0, &[0x88; 20], &[&[0x88; 20]]), Err(Violation::HeadTooLarge(1)));
    check(&parts(0, b"\x88\x00\x01x\x7f\xff\x7f", &[&[b'y'; 250][..]; 4]), Err(Violation::HeadTooLarge(1)));
    let open = || frame(HEADERS, 0, 1, b"\x88");
    for between in [
        settings(),
        frame(DATA, 0, 1, b"x"),
        headers(0, 3, b"\x88"),
        frame(CONTINUATION, 4, 3, b""),
        frame(66, 0, 1, b""),
    ] {
        check(&[settings(), open(), between], Err(Violation::Protocol));
    }
    check(&[settings(), frame(CONTINUATION, 4, 1, b"")], Err(Violation::Protocol));
}

#[test]
fn connections() {
    for from in [PeerRole::Client, PeerRole::Server] {
        check(from, &[settings()], Ok(&[]));
        check(from, &[frame(SETTINGS, ACK, 0, &[])], Err(Violation::Protocol));
        check(from, &[frame(6, 0, 0, &[0; 8]), settings()], Err(Violation::Protocol));
        check(from, &[settings(), frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2, 0x82])], Err(Violation::Protocol));
    }
    let push = |value: u8| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9, 0, 2, 0, 0, 0, value]);
    check(PeerRole::Server, &[push(1)], Err(Violation::Protocol));
    check(PeerRole::Server, &[push(0)], Ok(&[]));
    check(PeerRole::Client, &[push(1)], Ok(&[]));
}

#[test]
fn updates_of_priorities() {
    let update =
        |on, stream: u32, value: &[u8]| frame(PRIORITY_UPDATE, 0, on, &[&stream.to_be_bytes()[..], value].concat());
    let bytes =
        [vec![0; PREFACE], settings(), update(0, 1, b"u=1, i"), update(0, 3, b""), update(0, 5, &[b' '; 200])].concat();
    for size in [usize::MAX, 1, 7] {
        let monitor = Monitor::new(PeerRole::Client, 250);
        bytes.chunks(size).try_for_each(|part| monitor.received(part)).expect("no violation");
        let rank = |stream| monitor.priorities().rank(stream);
        assert!(rank(1) < rank(3) && rank(3) == rank(7), "in parts of {size}");
    }
    for wrong in
        [update(1, 1, b"u=1"), update(0, 0, b"u=1"), update(0, 2, b"u=1"), frame(PRIORITY_UPDATE, 0, 0, &[0; 3])]
    {
        check(PeerRole::Client, &[settings(), wrong], Err(Violation::Protocol));
    }
}

#[test]
fn marks_are_bounded() {
    let monitor = Monitor::new(PeerRole::Client, 250);
    monitor.received(&[vec![0; PREFACE], settings()].concat()).expect("a beginning");
    for at in 0..100 {
        let both = [headers(0, 2 * at + 1, b"\x82"), headers(1, 2 * at + 1, b"\x82")].concat();
        let outcome = monitor.received(&both);
        assert_eq!(outcome, if at < 64 { Ok(()) } else { Err(Violation::Protocol) }, "{at}");
        if outcome.is_err() {
            break;
        }
    }
}

#[test]
fn final_frames() {
    let check = |from: PeerRole, cut: Violation, written: &[u8], expected: &[Vec<u8>]| {
        let monitor = Monitor::new(from, 250);
        if from == PeerRole::Client {
            let received = [vec![0; PREFACE], settings(), headers(1, 7, b"\x82")].concat();
            monitor.received(&received).expect("a request");
        }
        monitor.sent(written);
        assert_eq!(monitor.last_words(cut), expected.concat());
    };
    let goaway = |last: u8, code: u8| frame(GOAWAY, 0, 0, &[0, 0, 0, last, 0, 0, 0, code]);
    let preface = [0; PREFACE];
    check(PeerRole::Client, Violation::Protocol, &settings(), &[goaway(7, 1)]);
    check(PeerRole::Client, Violation::HeadTooLarge(7), b"", &[frame(RST_STREAM, 0, 7, &[0, 0, 0, 11]), goaway(7, 11)]);
    check(PeerRole::Server, Violation::Compression, &preface, &[goaway(0, 9)]);
    check(PeerRole::Server, Violation::Compression, &preface[1..], &[]);
    check(PeerRole::Client, Violation::Protocol, &settings()[..4], &[]);
}

#[test]
fn sizes() {
    let monitor = Monitor::new(PeerRole::Client, 250);
    let check = |pseudo: usize, value: usize, expected: bool| {
        let value = "y".repeat(value).parse().expect("a value");
        let headers = [("x".parse().expect("a name"), value)].into_iter().collect();
        assert_eq!(monitor.is_too_large(pseudo, &headers), expected);
    };
    check(0, 216, false);
    check(0, 217, true);
    check(100, 116, false);
    check(100, 117, true);
    assert_eq!(monitor.most(), 1000);
}

#[test]
fn floods() {
    let check = |what: &str, kind: u8, flags: u8, payload: &[u8], most: Option<usize>| {
        let now = Instant::now();
        let mut state = MonitorState::new(PeerRole::Client, 1000, now);
        let begun = [vec![0; PREFACE], settings(), headers(0, 1, b"\x82")].concat();
        state.receive(&begun, || now).expect("a beginning");
        let frame = frame(kind, flags, 1, payload);
        let found = (0..10_000).find(|_| {
            // At once, and in two parts.
            let (first, second) = frame.split_at(frame.len() / 2);
            let outcome = state.receive(first, || now).and_then(|()| state.receive(second, || now));
            outcome.is_err_and(|cut| cut == Violation::Flood)
        });
        assert_eq!(found, most, "{what}");
    };
    check("SETTINGS", SETTINGS, 0, &[], Some(4094));
    check("acknowledgements", SETTINGS, ACK, &[], Some(4094));
    check("PING", 6, 0, &[0; 8], Some(4094));
    check("PRIORITY", 2, 0, &[0; 5], Some(4094));
    check("WINDOW_UPDATE", 8, 0, &[0, 0, 0, 1], Some(4094));
    check("unknown", 66, 0, b"x", Some(4094));
    check("GOAWAY", GOAWAY, 0, &[0; 8], Some(4094));
    check("heads", HEADERS, END_HEADERS, b"\x82", Some(4094));
    check("RST_STREAM", RST_STREAM, 0, &[0; 4], Some(2047));
    check("empty DATA", DATA, 0, b"", Some(4094));
    check("padding", DATA, PADDED, b"\x02\0\0", Some(4094));
    check("padding without length", DATA, PADDED, b"", Some(4094));
    check("DATA", DATA, 0, b"x", None);
    check("padded DATA", DATA, PADDED, b"\x02x\0\0", None);
    check("ends", DATA, END_STREAM, b"", None);
}

/// Window updates, PINGs and stream resets are paid for by the frames that they respond to.
#[test]
fn responses_are_not_floods() {
    let now = Instant::now();
    let mut state = MonitorState::new(PeerRole::Client, 1000, now);
    state.receive(&[vec![0; PREFACE], settings()].concat(), || now).expect("a beginning");
    let window = |stream| frame(8, 0, stream, &[0, 0, 0, 1]);
    let ping = frame(6, 0, 0, &[0; 8]);
    for at in 0..10_000 {
        let stream = 2 * at + 1;
        let asked = state.receive(&headers(1, stream, b"\x82"), || now);
        state.send(&headers(0, stream, b"\x88"));
        state.send(&frame(DATA, 0, stream, b"x"));
        let answers = [window(0), window(stream), ping.clone(), frame(RST_STREAM, 0, stream, &[0; 4])].concat();
        assert_eq!(asked.and_then(|()| state.receive(&answers, || now)), Ok(()), "{at}");
    }
}
