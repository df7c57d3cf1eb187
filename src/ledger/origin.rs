//! Where an address is, as a database of addresses says.

use sqlx::any::AnyRow;

use crate::ledger::LedgerError;
use crate::ledger::row::RowExt as _;

/// The Earth's mean radius in kilometres (IUGG).
const EARTH_KM: f64 = 6371.0088;

/// Where an address is. Any part may be unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// ISO 3166-1 code of the country, such as `FR`.
    pub country: Option<String>,
    /// The town, in English.
    pub city: Option<String>,
    /// Where that is.
    pub spot: Option<Spot>,
    /// Number of the autonomous system.
    pub asn: Option<u32>,
    /// Whose network it is.
    pub owner: Option<String>,
}

/// A place on Earth, in thousandths of a degree: about a hundred metres, finer than any such database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// North is positive.
    pub latitude: i32,
    /// East is positive.
    pub longitude: i32,
}

impl Spot {
    /// Takes degrees; `None` where they are on no globe.
    pub fn from_degrees(latitude: f64, longitude: f64) -> Option<Self> {
        if !(-90.0..=90.0).contains(&latitude) || !(-180.0..=180.0).contains(&longitude) {
            return None;
        }
        Some(Self {
            latitude: thousandths(latitude),
            longitude: thousandths(longitude),
        })
    }

    /// The great-circle distance to another place in kilometres, by the haversine formula.
    pub fn kilometres_to(self, other: Self) -> f64 {
        let radians = |thousandths: i32| (f64::from(thousandths) / 1000.0).to_radians();
        let (a, b) = (radians(self.latitude), radians(other.latitude));
        let half_sine = |angle: f64| (angle / 2.0).sin().powi(2);
        let across = radians(other.longitude) - radians(self.longitude);
        let h = half_sine(b - a) + a.cos() * b.cos() * half_sine(across);
        2.0 * EARTH_KM * h.sqrt().min(1.0).asin()
    }
}

/// At most 180 000 in either direction, so nothing is cut.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the callers' degrees are within 180"
)]
fn thousandths(degrees: f64) -> i32 {
    (degrees * 1000.0).round() as i32
}

pub(super) fn origin_of(row: &AnyRow) -> Result<Option<Origin>, LedgerError> {
    let spot = match (
        row.maybe_number("latitude")?,
        row.maybe_number("longitude")?,
    ) {
        (Some(latitude), Some(longitude)) => Some(Spot {
            latitude,
            longitude,
        }),
        _ => None,
    };
    let origin = Origin {
        country: row.maybe_text("country")?,
        city: row.maybe_text("city")?,
        spot,
        asn: row.maybe_number("asn")?,
        owner: row.maybe_text("network_owner")?,
    };
    Ok((origin != Origin::default()).then_some(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_globe() {
        let paris = Spot::from_degrees(48.8567, 2.3508).unwrap();
        let new_york = Spot::from_degrees(40.7128, -74.006).unwrap();
        // 5 837 km by any great-circle calculator.
        assert!((paris.kilometres_to(new_york) - 5837.0).abs() < 5.0);
        assert!(paris.kilometres_to(paris) < 0.001);
        // Over the date line it is near: 1 degree of the equator.
        let (east, west) = (
            Spot::from_degrees(0.0, 179.5),
            Spot::from_degrees(0.0, -179.5),
        );
        assert!((east.unwrap().kilometres_to(west.unwrap()) - 111.195).abs() < 0.01);
        let (here, there) = (Spot::from_degrees(0.0, 0.0), Spot::from_degrees(0.0, 180.0));
        assert!((here.unwrap().kilometres_to(there.unwrap()) - 20_015.1).abs() < 1.0);
        for (latitude, longitude) in [(90.1, 0.0), (0.0, 181.0), (f64::NAN, 0.0)] {
            assert_eq!(Spot::from_degrees(latitude, longitude), None);
        }
    }
}
