//! Writes a database of addresses in MaxMind's format (version 2.0 of its specification), as small as a test needs.

use serde_json::Value;

/// What a branch of the tree leads to.
#[derive(Clone, Copy)]
enum Branch {
    Nothing,
    Node(usize),
    Data(usize),
}

/// Returns a database that says of each IPv4 or IPv6 network what is given.
pub(crate) fn write(networks: &[(&str, Value)]) -> Vec<u8> {
    let (mut nodes, mut data) = (vec![[Branch::Nothing; 2]], Vec::new());
    for (network, says) in networks {
        let offset = data.len();
        encode(&mut data, says);
        let (address, length) = network.split_once('/').unwrap();
        let mut length: usize = length.parse().unwrap();
        let bits = match address.parse().unwrap() {
            std::net::IpAddr::V4(v4) => {
                // IPv4 stands at ::/96.
                length += 96;
                u128::from(u32::from(v4))
            }
            std::net::IpAddr::V6(v6) => u128::from(v6),
        };
        let mut at = 0;
        for depth in 0..length {
            let side = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == length {
                nodes[at][side] = Branch::Data(offset);
            } else if let Branch::Node(next) = nodes[at][side] {
                at = next;
            } else {
                nodes.push([Branch::Nothing; 2]);
                nodes[at][side] = Branch::Node(nodes.len() - 1);
                at = nodes.len() - 1;
            }
        }
    }
    let count = nodes.len();
    let mut out = Vec::new();
    for branch in nodes.into_iter().flatten() {
        let record = match branch {
            Branch::Nothing => count,
            Branch::Node(number) => number,
            Branch::Data(offset) => count + 16 + offset,
        };
        out.extend(&u32::try_from(record).unwrap().to_be_bytes()[1..]);
    }
    out.extend([0; 16]);
    out.extend(data);
    out.extend(b"\xab\xcd\xefMaxMind.com");
    encode(
        &mut out,
        &serde_json::json!({
            "binary_format_major_version": 2, "binary_format_minor_version": 0, "build_epoch": 1_795_485_300_u32,
            "database_type": "Test-City", "description": {"en": "a test's"}, "ip_version": 6, "languages": ["en"],
            "node_count": count, "record_size": 24,
        }),
    );
    out
}

fn control(out: &mut Vec<u8>, kind: u8, size: usize) {
    let (low, more) = match size {
        0..29 => (size, None),
        _ => (29, Some(u8::try_from(size - 29).unwrap())),
    };
    let low = u8::try_from(low).unwrap();
    // Kinds from 8 on stand in a byte of their own.
    match kind {
        1..=7 => out.push(kind << 5 | low),
        _ => out.extend([low, kind - 7]),
    }
    out.extend(more);
}

fn short(out: &mut Vec<u8>, number: u64) {
    control(out, 5, 2);
    out.extend(u16::try_from(number).unwrap().to_be_bytes());
}

fn encode(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(text) => {
            control(out, 2, text.len());
            out.extend(text.bytes());
        }
        Value::Number(number) if number.is_f64() => {
            control(out, 3, 8);
            out.extend(number.as_f64().unwrap().to_be_bytes());
        }
        Value::Number(number) => {
            control(out, 6, 4);
            out.extend(
                u32::try_from(number.as_u64().unwrap())
                    .unwrap()
                    .to_be_bytes(),
            );
        }
        Value::Object(map) => {
            control(out, 7, map.len());
            for (key, value) in map {
                control(out, 2, key.len());
                out.extend(key.bytes());
                match (key.as_str(), value.as_u64()) {
                    // What describes the file has widths of its own.
                    ("build_epoch", Some(number)) => {
                        control(out, 9, 8);
                        out.extend(number.to_be_bytes());
                    }
                    ("ip_version" | "record_size", Some(number)) => short(out, number),
                    (key, Some(number)) if key.starts_with("binary_") => short(out, number),
                    _ => encode(out, value),
                }
            }
        }
        Value::Array(list) => {
            control(out, 11, list.len());
            list.iter().for_each(|value| encode(out, value));
        }
        Value::Bool(_) | Value::Null => panic!("not written"),
    }
}

/// A town as GeoLite2's City has it.
pub(crate) fn city(country: &str, name: &str, latitude: f64, longitude: f64) -> Value {
    serde_json::json!({
        "country": {"iso_code": country, "names": {"en": country}},
        "city": {"names": {"en": name, "fr": format!("{name} (fr)")}},
        "location": {"latitude": latitude, "longitude": longitude, "accuracy_radius": 20, "time_zone": "UTC"},
    })
}
