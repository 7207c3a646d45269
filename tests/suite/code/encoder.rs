//! No content breaks out of its frame: a reader written from the WHATWG's standard gets out exactly what was put in, once.

use chrono::DateTime;
use holdfast::{
    domain::{
        event::{EventType, ReservationEvent},
        platform::PlatformEvent,
    },
    feed::{Frame, Subject},
};
use proptest::prelude::*;
use serde_json::Value;

use crate::support::sse::{Parser, Seen};

/// Texts of harmful pieces and of arbitrary characters.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        prop::sample::select(vec![
            "\r", "\n", "\r\n", "\0", "\u{2028}", "\u{2029}", "\u{feff}", ":", " ", "data:", "event: x", "id: 1", "\"",
            "\\", "{"
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
}

fn lines(id: Option<i64>, kind: &str, data: &str) -> Vec<u8> {
    Frame::new(id, kind, Subject::Stream, &[data]).bytes().to_vec()
}

/// What a reader gets of a frame between two others that is cut into two chunks anywhere.
fn seen(bytes: &[u8], cut: usize) -> Vec<Seen> {
    let mut stream = lines(Some(1), "before", "1");
    stream.extend_from_slice(bytes);
    stream.extend_from_slice(&lines(None, "after", "3"));
    let mut parser = Parser::default();
    let (head, tail) = stream.split_at(cut % stream.len());
    let mut seen = parser.feed(head);
    seen.extend(parser.feed(tail));
    assert_eq!(seen.first(), Some(&Seen::Event { kind: "before".into(), data: "1".into(), last_id: "1".into() }));
    assert!(matches!(seen.last(), Some(Seen::Event { kind, data, .. }) if kind == "after" && data == "3"), "{seen:?}");
    seen[1..seen.len() - 1].to_vec()
}

fn one(bytes: &[u8], cut: usize) -> (String, Value, String) {
    match seen(bytes, cut).as_slice() {
        [Seen::Event { kind, data, last_id }] => (kind.clone(), serde_json::from_str(data).unwrap(), last_id.clone()),
        other => panic!("one event, not {other:?}"),
    }
}

proptest! {
    #[test]
    fn a_reservations_event_is_one_event(
        resource in hostile(), requester in hostile(), kind in hostile(), label in hostile(), reason in hostile(), position: Option<u32>, cut: usize,
    ) {
        let event = ReservationEvent {
            id: position.map(|position| position.to_string()),
            r#type: EventType::Reserved,
            tenant_id: label.clone(),
            resource: Some(resource.clone()),
            requester: Some(requester.clone()),
            explanation: None,
            reason: Some(reason.clone()),
            resource_type: Some(kind),
            api_key_label: Some(label),
            request_type: None,
            timestamp: DateTime::UNIX_EPOCH,
            method: None,
            changes: None,
            limit_type: None,
            limit: None,
            fencing_token: None,
            expires_at: None,
            pool: None,
            slots: Some(vec![resource.clone()]),
            blockers: Some(vec![resource.clone()]),
            note: Some(requester.clone()),
            ticket: None,
            waited_ms: None,
            place: None,
            wait_expires_at: None,
        };
        let frame = Frame::reservation(position.map(i64::from), &event).unwrap();
        let (kind, data, id) = one(frame.bytes(), cut);
        prop_assert_eq!(kind, "RESERVED");
        prop_assert_eq!(id, position.map_or("1".to_owned(), |position| position.to_string()));
        prop_assert_eq!(data["resource"].as_str(), Some(resource.as_str()));
        prop_assert_eq!(data["requester"].as_str(), Some(requester.as_str()));
        prop_assert_eq!(data["reason"].as_str(), Some(reason.as_str()));
        prop_assert_eq!(data["blockers"][0].as_str(), Some(resource.as_str()));
    }

    #[test]
    fn a_platforms_event_is_one_event(kind in hostile(), company in hostile(), text in hostile(), cut: usize) {
        let data = serde_json::to_string_pretty(&serde_json::json!({ "text": text })).unwrap();
        let event = PlatformEvent { kind: kind.clone(), company_id: Some(company.clone()), company_slug: None, data, timestamp: DateTime::UNIX_EPOCH };
        let frame = Frame::platform(7, &event).unwrap();
        let (read_kind, data, id) = one(frame.bytes(), cut);
        prop_assert_eq!(id, "7");
        // A type that the API would refuse is still one line.
        let line = kind.replace(['\r', '\n', '\0'], "_");
        prop_assert_eq!(read_kind, if line.is_empty() { "message".to_owned() } else { line });
        prop_assert_eq!(data["type"].as_str(), Some(kind.as_str()));
        prop_assert_eq!(data["companyId"].as_str(), Some(company.as_str()));
        prop_assert_eq!(data["data"]["text"].as_str(), Some(text.as_str()));
    }

    #[test]
    fn any_bytes_stay_in_their_frame(id: Option<u32>, kind in hostile(), data in hostile(), cut: usize) {
        let bytes = lines(id.map(i64::from), &kind, &data);
        let seen = seen(&bytes, cut);
        prop_assert_eq!(seen.len(), 1, "{:?}", seen);
    }
}
