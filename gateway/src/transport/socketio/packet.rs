//! Socket.IO protocol 5 on the wire, as strict as the reference parser. Borrows everything; binary is refused.

use std::{borrow::Cow, fmt};

use messenger_core::{Error, ErrorKind};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// Bytes in the name of a namespace: it is given back in the refusal.
const NAMESPACE_BYTES_MAX: usize = 256;
/// Events of the client library itself, which never travel.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// A packet with the namespace it is for, which is `/` unless it says otherwise.
#[derive(Debug)]
pub struct Packet<'a> {
    /// The namespace, without the comma behind it.
    pub namespace: &'a str,
    /// What it says.
    pub body: Body<'a>,
}

/// What a client may say.
#[derive(Debug)]
pub enum Body<'a> {
    /// `0`: asks for the namespace.
    Connect(Auth<'a>),
    /// `1`: leaves the namespace.
    Disconnect,
    /// `2`: an event.
    Event(Event<'a>),
    /// `3` and `4`: an answer to what was never asked here, well formed.
    Ignored,
}

/// An event: its name and first argument. Further arguments are ignored, as unknown fields are.
#[derive(Debug)]
pub struct Event<'a> {
    /// The number the client wants to be answered under.
    pub ack: Option<u64>,
    /// The event's name.
    pub name: Cow<'a, str>,
    /// Its first argument.
    pub data: Option<&'a RawValue>,
}

/// What a client shows when it connects. A value that is no text counts as none.
#[derive(Debug, Default, Deserialize)]
pub struct Auth<'a> {
    /// An access token.
    #[serde(borrow, default)]
    pub token: Text<'a>,
    /// The `pid` of the connection to resume.
    #[serde(borrow, default)]
    pub pid: Text<'a>,
    /// The cursor of the last event the client has of it.
    #[serde(borrow, default)]
    pub offset: Text<'a>,
}

/// A JSON text, or anything else.
#[derive(Debug, Default)]
pub struct Text<'a>(Option<Cow<'a, str>>);

impl Text<'_> {
    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(text(<&'a RawValue>::deserialize(deserializer)?)))
    }
}

impl<'a> Packet<'a> {
    /// Reads one packet: the text of an Engine.IO message.
    ///
    /// # Errors
    /// MALFORMED_FRAME for anything the reference parser refuses, for binary packets, for ack ids above 64 bits.
    pub fn decode(text: &'a str) -> Result<Self, Error> {
        let (Some(kind), Some(rest)) = (text.as_bytes().first(), text.get(1..)) else {
            return Err(malformed());
        };
        let (namespace, rest) = split_namespace(rest)?;
        let (ack, json) = split_ack(rest)?;
        let body = match (kind, ack) {
            (b'0', None) => Body::Connect(auth(json)?),
            (b'1', None) if json.is_empty() => Body::Disconnect,
            (b'2', ack) => Body::Event(event(ack, json)?),
            (b'3', Some(_)) if json.starts_with('[') => well_formed(json)?,
            (b'4', None) if json.starts_with(['{', '"']) => well_formed(json)?,
            _ => return Err(malformed()),
        };
        Ok(Self { namespace, body })
    }
}

fn malformed() -> Error {
    Error::new(ErrorKind::MalformedFrame, "not a Socket.IO packet")
}

fn split_namespace(text: &str) -> Result<(&str, &str), Error> {
    if !text.starts_with('/') {
        return Ok(("/", text));
    }
    let (namespace, rest) = text.split_once(',').unwrap_or((text, ""));
    if namespace.len() > NAMESPACE_BYTES_MAX {
        return Err(malformed());
    }
    Ok((namespace, rest))
}

fn split_ack(text: &str) -> Result<(Option<u64>, &str), Error> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    if number.is_empty() {
        return Ok((None, rest));
    }
    number.parse().map(|ack| (Some(ack), rest)).map_err(|_| malformed())
}

fn auth(json: &str) -> Result<Auth<'_>, Error> {
    match json.as_bytes().first() {
        None => Ok(Auth::default()),
        Some(b'{') => serde_json::from_str(json).map_err(|_| malformed()),
        // A derived struct would also be read from an array.
        Some(_) => Err(malformed()),
    }
}

fn event(ack: Option<u64>, json: &str) -> Result<Event<'_>, Error> {
    let Arguments { name, data } = serde_json::from_str(json).map_err(|_| malformed())?;
    if RESERVED.contains(&&*name) {
        return Err(malformed());
    }
    Ok(Event { ack, name, data })
}

/// A text, or a number: nobody's event, but well formed.
fn event_name(raw: &RawValue) -> Option<Cow<'_, str>> {
    let is_number = raw.get().starts_with(|first: char| first == '-' || first.is_ascii_digit());
    if is_number { Some(Cow::Borrowed(raw.get())) } else { text(raw) }
}

fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Borrowed<'_>>(raw.get()).ok().map(|text| text.0)
}

fn well_formed(json: &str) -> Result<Body<'_>, Error> {
    serde_json::from_str::<IgnoredAny>(json).map_err(|_| malformed())?;
    Ok(Body::Ignored)
}

/// `[name, first argument, …]`.
struct Arguments<'a> {
    name: Cow<'a, str>,
    data: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Arguments<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Arguments<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array that begins with the event's name")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
                let name = array.next_element::<&'de RawValue>()?.and_then(event_name);
                let name = name.ok_or_else(|| serde::de::Error::custom("no event name"))?;
                let data = array.next_element()?;
                while array.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Arguments { name, data })
            }
        }
        deserializer.deserialize_seq(Array)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, prop_assume, proptest};

    use super::*;

    fn decode_event(text: &str) -> (String, Option<u64>, Option<String>) {
        match Packet::decode(text).expect(text).body {
            Body::Event(event) => (event.name.into_owned(), event.ack, event.data.map(|data| data.get().to_owned())),
            other => panic!("{text} is {other:?}"),
        }
    }

    fn decode_auth(text: &str) -> [Option<String>; 3] {
        match Packet::decode(text).expect(text).body {
            Body::Connect(auth) => [auth.token, auth.pid, auth.offset].map(|text| text.as_str().map(str::to_owned)),
            other => panic!("{text} is {other:?}"),
        }
    }

    #[test]
    fn reads_events() {
        let deep = format!("2[\"a\",{}{}]", "[".repeat(50_000), "]".repeat(50_000));
        assert_eq!(decode_event(&deep).0, "a");
        for (text, name, ack, data) in [
            (r#"2["a"]"#, "a", None, None),
            (r#"2["a",null]"#, "a", None, Some("null")),
            (r#"2["a",{"b":[1]},"more",3]"#, "a", None, Some(r#"{"b":[1]}"#)),
            (r#"2456["a",1]"#, "a", Some(456), Some("1")),
            (r#"2/,0["a"]"#, "a", Some(0), None),
            (r#"218446744073709551615["a"]"#, "a", Some(u64::MAX), None),
            (r#"2["\u0061\n"]"#, "a\n", None, None),
            (r#"2[7,{}]"#, "7", None, Some("{}")),
        ] {
            assert_eq!(decode_event(text), (name.to_owned(), ack, data.map(str::to_owned)), "{text}");
        }
    }

    #[test]
    fn reads_namespaces() {
        for (text, namespace) in [
            ("0", "/"),
            ("0/,", "/"),
            ("0/custom", "/custom"),
            ("0/custom,{\"token\":\"x\"}", "/custom"),
            ("1/custom,", "/custom"),
            ("2/custom,[\"a\"]", "/custom"),
        ] {
            assert_eq!(Packet::decode(text).expect(text).namespace, namespace);
        }
    }

    #[test]
    fn reads_what_a_client_shows() {
        let none = [None, None, None];
        let some = |text: &str| Some(text.to_owned());
        for (text, shown) in [
            ("0", none.clone()),
            ("0{}", none.clone()),
            (r#"0{"token":null,"pid":1,"offset":["x"]}"#, none),
            (r#"0{"token":"t","__proto__":{"token":"p"}}"#, [some("t"), None, None]),
            (r#"0{"token":"t","pid":"p","offset":"o"}"#, [some("t"), some("p"), some("o")]),
        ] {
            assert_eq!(decode_auth(text), shown, "{text}");
        }
    }

    #[test]
    fn reads_and_ignores_answers() {
        for text in ["31[]", r#"312["x",{}]"#, r#"4{"message":"x"}"#, r#"4"x""#, "3/custom,1[]"] {
            assert!(matches!(Packet::decode(text).expect(text).body, Body::Ignored), "{text}");
        }
    }

    fn assert_refused(texts: &[&str]) {
        for text in texts {
            let refused = Packet::decode(text).map(|packet| format!("{packet:?}")).expect_err(text);
            assert_eq!(refused.kind(), ErrorKind::MalformedFrame);
        }
    }

    #[test]
    fn refuses_malformed_events() {
        assert_refused(&["2", "2{}", "2[]", "2[null]", "2[true]", "2[{}]", "2[[]]", "2\"a\"", "2[\"a\"", "2[\"a\",]"]);
        assert_refused(&["2-1[\"a\"]", "21.5[\"a\"]", "2abc[\"a\"]", "2[\"a\"]]", "2 [\"a\"]x", "2/x[\"a\"]"]);
        assert_refused(&["2[\"connect\"]", "2[\"disconnect\"]", "2[\"newListener\",1]"]);
        let many_digits = format!("2{}[\"a\"]", "9".repeat(20_000));
        assert_refused(&["218446744073709551616[\"a\"]", &many_digits]);
    }

    #[test]
    fn refuses_everything_else() {
        assert_refused(&["", "7", "9", "x", "abc", "é", "-1", " 0"]);
        assert_refused(&["0[]", "0null", "0\"x\"", "07{}", "0{", "0{}x", r#"0{"token":"a","token":"b"}"#]);
        assert_refused(&["1x", "1{}", "11", "3", "3[]", "31", "31{}", "31[", "4", "4[]", "41{}", "4{"]);
        assert_refused(&["5", "51-[\"a\",{\"_placeholder\":true,\"num\":0}]", "50-[\"a\"]", "51[\"a\"]", "61-1[]"]);
        let long_name = format!("0/{},", "n".repeat(50_000));
        assert_refused(&[&long_name]);
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>(), kind in 0..8_u8) {
            let _ = Packet::decode(&text);
            let _ = Packet::decode(&format!("{kind}{text}"));
            let _ = Packet::decode(&format!("{kind}/{text}"));
            let _ = Packet::decode(&format!("2[{text}]"));
        }

        #[test]
        fn reads_any_event(name in "[a-z_]{1,20}", ack in any::<Option<u64>>(), content in any::<String>()) {
            let data = serde_json::json!({ "content": content }).to_string();
            let ack_text = ack.map(|ack| ack.to_string()).unwrap_or_default();
            let text = format!("2{ack_text}[{},{data}]", serde_json::json!(name));
            prop_assume!(!RESERVED.contains(&&*name));
            prop_assert_eq!(decode_event(&text), (name, ack, Some(data)));
        }
    }
}
