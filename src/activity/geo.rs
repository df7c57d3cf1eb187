//! Where addresses are, by databases in MaxMind's format that the user gives. No I/O: the bytes go in.
//!
//! Fact: the fields are those of GeoIP2 and GeoLite2 (City, Country, ASN, ISP), which other makers of such files write as
//! well: `country.iso_code`, `city.names.en`, `location.{latitude,longitude,accuracy_radius}`,
//! `autonomous_system_{number,organization}`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use maxminddb::Reader;
use serde::Deserialize;

use crate::ledger::{Origin, Spot};
use crate::names::printable;

/// A location that may be further off than this, in kilometres, is none: many are the middle of a country.
const MOST_RADIUS: u16 = 200;

/// A database cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{name}` is no database of addresses that can be read")]
pub struct GeoError {
    name: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Databases of addresses; what the first does not say of one, the next may.
#[derive(Default)]
pub struct Places {
    readers: Vec<(String, Reader<Vec<u8>>)>,
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.readers.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

/// What is read of an entry.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    country: Country,
    city: City,
    location: Location,
    autonomous_system_number: Option<u32>,
    autonomous_system_organization: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Country {
    iso_code: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct City {
    names: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Location {
    latitude: Option<f64>,
    longitude: Option<f64>,
    accuracy_radius: Option<u16>,
}

impl Places {
    /// Adds a database; the name is what errors call it.
    ///
    /// # Errors
    /// When the bytes are no such database.
    pub fn add(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), GeoError> {
        let name = name.to_owned();
        match Reader::from_source(bytes) {
            Ok(reader) => self.readers.push((name, reader)),
            Err(e) => {
                let source = e.into();
                return Err(GeoError { name, source });
            }
        }
        Ok(())
    }

    /// Returns whether there is no database.
    pub fn is_empty(&self) -> bool {
        self.readers.is_empty()
    }

    /// Returns where an address is; `None` where it is no address, or no database knows it.
    ///
    /// # Errors
    /// When a database is damaged, or says something else than such a database does.
    pub fn origin(&self, address: &str) -> Result<Option<Origin>, GeoError> {
        let Some(ip) = parse(address) else {
            return Ok(None);
        };
        let mut origin = Origin::default();
        for (name, reader) in &self.readers {
            let entry = entry(reader, ip).map_err(|source| GeoError {
                name: name.clone(),
                source,
            })?;
            if let Some(entry) = entry {
                complete(&mut origin, entry);
            }
        }
        Ok((origin != Origin::default()).then_some(origin))
    }
}

/// The address as a number: of IPv6, without the interface; of IPv4 in IPv6, the IPv4.
pub(super) fn parse(address: &str) -> Option<IpAddr> {
    let ip: IpAddr = address.split('%').next()?.parse().ok()?;
    Some(ip.to_canonical())
}

fn entry(
    reader: &Reader<Vec<u8>>,
    ip: IpAddr,
) -> Result<Option<Entry>, Box<dyn std::error::Error + Send + Sync>> {
    // A database of IPv4 alone knows no IPv6; that is no error of anybody's.
    if ip.is_ipv6() && reader.metadata().ip_version == 4 {
        return Ok(None);
    }
    // By way of JSON: makers of such files differ in how wide a number is, and the reader is strict about that.
    let says: Option<serde_json::Value> = reader.lookup(ip)?.decode()?;
    Ok(says.map(serde_json::from_value).transpose()?)
}

fn complete(origin: &mut Origin, entry: Entry) {
    let words = |text: Option<String>| {
        text.map(|t| printable(t.trim(), 100))
            .filter(|t| !t.is_empty())
    };
    let code = entry.country.iso_code.filter(|c| {
        let letters = c.bytes().all(|b| b.is_ascii_uppercase());
        c.len() == 2 && letters
    });
    let mut names = entry.city.names;
    let near = entry.location.accuracy_radius.unwrap_or(0) <= MOST_RADIUS;
    let spot = match (entry.location.latitude, entry.location.longitude) {
        (Some(latitude), Some(longitude)) if near => Spot::from_degrees(latitude, longitude),
        _ => None,
    };
    origin.country = origin.country.take().or(code);
    origin.city = origin.city.take().or(words(names.remove("en")));
    origin.spot = origin.spot.or(spot);
    origin.asn = origin.asn.or(entry.autonomous_system_number);
    origin.owner = origin
        .owner
        .take()
        .or(words(entry.autonomous_system_organization));
}
