//! The codec against whole, cut, random and hostile bytes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use bytes::{Buf, Bytes, BytesMut};
use common::bytes_of;
use postern_proto::limits::{
    MAX_CONTROL_FRAME, MAX_HELLO_FRAME, MAX_OPEN_FRAME, MAX_STREAM_DATA, STREAM_HEADER,
};
use postern_proto::{
    DecodeError, FromAgent, Hello, OutputStream, Request, StreamEnd, StreamEvent, StreamHeader,
    StreamKind, StreamOpen, StreamReply, take_frame,
};
use proptest::prelude::*;

fn framed(max: usize, mut buf: BytesMut) -> Bytes {
    let frame = take_frame(&mut buf, max).unwrap().unwrap();
    assert!(buf.is_empty());
    frame
}

/// A name, the bytes, and what decodes them and compares.
type Case = (String, BytesMut, Box<dyn Fn(BytesMut)>);

/// Every message of the protocol.
fn everything() -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    let hello = common::hello();
    let bytes = bytes_of(|b| hello.encode(b).unwrap());
    all.push((
        "Hello".into(),
        bytes,
        Box::new(move |b| {
            assert_eq!(Hello::decode(framed(MAX_HELLO_FRAME, b)).unwrap(), hello);
        }),
    ));
    for request in common::requests() {
        let bytes = bytes_of(|b| request.encode(7, b).unwrap());
        all.push((
            format!("{request:?}"),
            bytes,
            Box::new(move |b| {
                let decoded = Request::decode(framed(MAX_CONTROL_FRAME, b)).unwrap();
                assert_eq!(decoded, (7, request.clone()));
            }),
        ));
    }
    for message in common::from_agent() {
        let bytes = bytes_of(|b| message.encode(b).unwrap());
        all.push((
            format!("{message:?}"),
            bytes,
            Box::new(move |b| {
                assert_eq!(FromAgent::decode(framed(MAX_CONTROL_FRAME, b)).unwrap(), message);
            }),
        ));
    }
    for open in common::opens() {
        let bytes = bytes_of(|b| open.encode(b).unwrap());
        all.push((
            format!("{open:?}"),
            bytes,
            Box::new(move |b| {
                assert_eq!(StreamOpen::decode(framed(MAX_OPEN_FRAME, b)).unwrap(), open);
            }),
        ));
    }
    for reply in common::stream_replies() {
        let bytes = bytes_of(|b| reply.encode(b).unwrap());
        all.push((
            format!("{reply:?}"),
            bytes,
            Box::new(move |b| {
                assert_eq!(StreamReply::decode(framed(MAX_OPEN_FRAME, b)).unwrap(), reply);
            }),
        ));
    }
    all
}

/// Stream frames: (kind, bytes).
fn stream_frames() -> Vec<(StreamKind, BytesMut)> {
    let events = common::events().into_iter();
    let ends = common::ends().into_iter();
    events
        .map(|e| (StreamKind::Message, bytes_of(|b| e.encode(b).unwrap())))
        .chain(ends.map(|e| (StreamKind::End, bytes_of(|b| e.encode(b).unwrap()))))
        .collect()
}

#[test]
fn every_message_comes_back_as_it_went() {
    for (_, bytes, check) in everything() {
        check(bytes);
    }
    for event in common::events() {
        let mut bytes = bytes_of(|b| event.encode(b).unwrap());
        let (header, payload) = StreamHeader::take(&mut bytes).unwrap().unwrap();
        assert_eq!(header.kind, StreamKind::Message);
        assert_eq!(StreamEvent::decode(payload).unwrap(), event);
    }
    for end in common::ends() {
        let mut bytes = bytes_of(|b| end.encode(b).unwrap());
        let (header, payload) = StreamHeader::take(&mut bytes).unwrap().unwrap();
        assert_eq!(header.kind, StreamKind::End);
        assert_eq!(StreamEnd::decode(payload).unwrap(), end);
    }
}

#[test]
fn a_message_cut_at_any_byte_is_incomplete_and_then_whole() {
    for (name, bytes, check) in everything() {
        for cut in 0..bytes.len() {
            let mut buf = BytesMut::from(&bytes[..cut]);
            assert_eq!(take_frame(&mut buf, MAX_CONTROL_FRAME), Ok(None), "{name} at {cut}");
            buf.extend_from_slice(&bytes[cut..]);
            check(buf);
        }
    }
    for (_, bytes) in stream_frames() {
        for cut in 0..bytes.len() {
            let mut buf = BytesMut::from(&bytes[..cut]);
            assert_eq!(StreamHeader::take(&mut buf), Ok(None));
            buf.extend_from_slice(&bytes[cut..]);
            assert!(StreamHeader::take(&mut buf).unwrap().is_some());
            assert!(buf.is_empty());
        }
    }
}

/// A frame whose protobuf is cut while its length prefix agrees: an error or
/// another message, never a panic.
#[test]
fn a_payload_cut_at_any_byte_does_not_panic() {
    for (_, bytes, _) in everything() {
        let payload = bytes.clone().split_off(4).freeze();
        for cut in 0..payload.len() {
            let part = payload.slice(..cut);
            drop(Hello::decode(part.clone()));
            drop(Request::decode(part.clone()));
            drop(FromAgent::decode(part.clone()));
            drop(StreamOpen::decode(part.clone()));
            drop(StreamReply::decode(part));
        }
    }
}

#[test]
fn a_claim_over_the_cap_is_refused_by_its_prefix_alone() {
    let mut buf = BytesMut::from(&u32::MAX.to_be_bytes()[..]);
    let too_long = DecodeError::TooLong { len: u32::MAX.into(), max: MAX_CONTROL_FRAME };
    assert_eq!(take_frame(&mut buf, MAX_CONTROL_FRAME), Err(too_long));
    let header = StreamHeader {
        kind: StreamKind::Data(None),
        len: u32::try_from(MAX_STREAM_DATA).unwrap() + 1,
        offset: 0,
        aux: 0,
    };
    assert!(matches!(StreamHeader::decode(&header.encode()), Err(DecodeError::TooLong { .. })));
}

#[test]
fn a_message_over_the_cap_is_not_encoded_in_part() {
    let exec = postern_proto::Exec { stdin: vec![0; MAX_CONTROL_FRAME].into(), ..common::exec() };
    let mut buf = BytesMut::from(&b"before"[..]);
    assert!(Request::Exec(Box::new(exec)).encode(1, &mut buf).is_err());
    assert_eq!(buf, b"before"[..]);
}

#[test]
fn a_stranger_is_told_by_its_magic() {
    let stranger = Bytes::from_static(&[0x0d, 1, 2, 3, 4]);
    assert_eq!(Hello::decode(stranger), Err(DecodeError::BadMagic(0x0403_0201)));
}

#[test]
fn unknown_parts_are_ignored_and_unknown_messages_named() {
    // Field 1000, a varint, in front of a known message.
    let unknown = [0xc0, 0x3e, 0x05];
    let mut bytes = bytes_of(|b| Request::Ping.encode(3, b).unwrap());
    bytes.advance(4);
    let both = [&unknown[..], &bytes[..]].concat();
    assert_eq!(Request::decode(both.into()), Ok((3, Request::Ping)));
    // Only a field that this generation does not have: a request of a newer one.
    let newer = [&[0x08, 0x04][..], &unknown[..]].concat();
    assert_eq!(Request::decode(newer.into()), Ok((4, Request::Unknown)));
    assert_eq!(StreamOpen::decode(unknown.to_vec().into()), Ok(StreamOpen::Unknown));
    assert_eq!(FromAgent::decode(unknown.to_vec().into()), Ok(FromAgent::Unknown));
}

#[test]
fn golden_bytes() {
    let ping = bytes_of(|b| Request::Ping.encode(1, b).unwrap());
    assert_eq!(ping[..], [0, 0, 0, 4, 0x08, 1, 0x12, 0]);
    let hello = Hello::host(postern_proto::Purpose::Stream, 2, "x");
    assert_eq!(
        bytes_of(|b| hello.encode(b).unwrap())[..],
        [
            0, 0, 0, 21, 0x0d, b'N', b'T', b'S', b'P', 0x10, 1, 0x22, 1, b'x', 0x28, 2, 0x31, 2, 0,
            0, 0, 0, 0, 0, 0
        ]
    );
    let header = StreamHeader {
        kind: StreamKind::Data(Some(OutputStream::Stderr)),
        len: 0x0102,
        offset: 0x0304_0506_0708_090a,
        aux: 0x0b,
    };
    assert_eq!(
        header.encode(),
        [1, 2, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0, 0, 0, 0, 0, 0, 11]
    );
    let gap = StreamHeader { kind: StreamKind::Gap, len: 0, offset: 1, aux: 2 };
    assert_eq!(gap.encode()[0], 2);
    assert_eq!(gap.encode().len(), STREAM_HEADER);
}

proptest! {
    #[test]
    fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let payload = Bytes::from(bytes.clone());
        drop(Hello::decode(payload.clone()));
        drop(Request::decode(payload.clone()));
        drop(FromAgent::decode(payload.clone()));
        drop(StreamOpen::decode(payload.clone()));
        drop(StreamReply::decode(payload.clone()));
        drop(StreamEvent::decode(payload.clone()));
        drop(StreamEnd::decode(payload));
        let mut buf = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = take_frame(&mut buf, MAX_CONTROL_FRAME) {}
        let mut buf = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = StreamHeader::take(&mut buf) {}
    }

    #[test]
    fn a_changed_byte_does_not_panic(which in 0usize..64, at in 0usize..256, value in any::<u8>()) {
        let all = everything();
        let (_, bytes, _) = &all[which % all.len()];
        let mut payload = bytes[4..].to_vec();
        if let Some(len) = payload.len().checked_sub(1) {
            payload[at.min(len)] = value;
        }
        let payload = Bytes::from(payload);
        drop(Hello::decode(payload.clone()));
        drop(Request::decode(payload.clone()));
        drop(FromAgent::decode(payload.clone()));
        drop(StreamOpen::decode(payload.clone()));
        drop(StreamReply::decode(payload));
    }

    #[test]
    fn headers_come_back(
        tag in 0u8..4, len in 0u32..=262_144, offset in any::<u64>(), aux in any::<u64>()
    ) {
        let stream = [None, Some(OutputStream::Stdout), Some(OutputStream::Stderr), Some(OutputStream::Pty)];
        let kind = StreamKind::Data(stream[usize::from(tag)]);
        let header = StreamHeader { kind, len, offset, aux };
        prop_assert_eq!(StreamHeader::decode(&header.encode()), Ok(header));
    }
}
