//! Where addresses are, by a database of MaxMind's format.

use fleetotp::activity::geo::Places;
use fleetotp::ledger::Spot;
use serde_json::json;

use super::support::mmdb;

fn places(databases: &[Vec<u8>]) -> Places {
    let mut places = Places::default();
    for bytes in databases {
        places.add("test.mmdb", bytes.clone()).unwrap();
    }
    places
}

#[test]
fn one_database_says_the_town_and_another_whose_network_it_is() {
    let city = mmdb::write(&[
        ("192.0.2.0/25", mmdb::city("FR", "Paris", 48.8567, 2.3508)),
        (
            "2001:db8:1::/48",
            mmdb::city("US", "New York", 40.7128, -74.006),
        ),
    ]);
    let asn = mmdb::write(&[(
        "192.0.2.0/24",
        json!({"autonomous_system_number": 64_496, "autonomous_system_organization": "Example \u{202e}Net"}),
    )]);
    let places = places(&[city, asn]);
    let origin = |address: &str| places.origin(address).unwrap();
    let paris = origin("192.0.2.7").unwrap();
    assert_eq!(
        (paris.country.as_deref(), paris.city.as_deref()),
        (Some("FR"), Some("Paris"))
    );
    assert_eq!(paris.spot, Spot::from_degrees(48.8567, 2.3508));
    assert_eq!(paris.asn, Some(64_496));
    // What stands in the file is shown to people.
    assert_eq!(paris.owner.as_deref(), Some("Example \\u{202e}Net"));
    assert_eq!(origin("::ffff:192.0.2.7").unwrap(), paris);
    let half = origin("192.0.2.200").unwrap();
    assert_eq!((half.country, half.asn), (None, Some(64_496)));
    let far = origin("2001:db8:1::5%eth0").unwrap();
    assert_eq!(far.country.as_deref(), Some("US"));
    for nowhere in ["198.51.100.1", "2001:db8:2::1", "a.name.example", ""] {
        assert_eq!(origin(nowhere), None, "{nowhere}");
    }
}

#[test]
fn what_is_only_the_middle_of_a_country_is_no_place() {
    let mut wide = mmdb::city("US", "x", 37.751, -97.822);
    wide["location"]["accuracy_radius"] = json!(1000);
    wide.as_object_mut().unwrap().remove("city");
    let mut odd = mmdb::city("fr", "y", 95.0, 0.0);
    odd["city"]["names"] = json!({"fr": "Paris"});
    let places = places(&[mmdb::write(&[
        ("192.0.2.0/25", wide),
        ("192.0.2.128/25", odd),
    ])]);
    let origin = places.origin("192.0.2.1").unwrap().unwrap();
    assert_eq!((origin.country.as_deref(), origin.spot), (Some("US"), None));
    // Neither a country's code, nor a place on Earth, nor a name in English.
    assert_eq!(places.origin("192.0.2.129").unwrap(), None);
}

#[test]
fn what_is_no_database_or_a_broken_one_is_an_error() {
    let error = Places::default()
        .add("x.mmdb", b"text".to_vec())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`x.mmdb` is no database of addresses that can be read"
    );
    // Every byte of a database may be wrong: it is read, or said to be broken, and nothing ends the program.
    let good = mmdb::write(&[("192.0.2.0/24", mmdb::city("FR", "Paris", 48.8567, 2.3508))]);
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0xff;
        let mut places = Places::default();
        if places.add("x.mmdb", bytes).is_ok() {
            drop(places.origin("192.0.2.7"));
        }
    }
    for length in 0..good.len() {
        let mut places = Places::default();
        if places.add("x.mmdb", good[..length].to_vec()).is_ok() {
            drop(places.origin("192.0.2.7"));
        }
    }
    // Something else where a country has to be.
    let other = mmdb::write(&[("192.0.2.0/24", json!({"country": "FR"}))]);
    assert!(places(&[other]).origin("192.0.2.7").is_err());
}
