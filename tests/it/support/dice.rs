//! Random instants that can be had again.

use std::time::Duration;

use fleetotp::clock::{Clock as _, SystemClock};

/// Numbers that look random and can be had again: xorshift64*.
pub(crate) struct Dice(u64);

impl Dice {
    /// From the environment, to repeat a failure, else from the clock. Printed with every failure.
    pub(crate) fn new() -> Self {
        let seed = std::env::var("FLEETOTP_TEST_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| SystemClock.now().as_microsecond().unsigned_abs());
        println!("FLEETOTP_TEST_SEED={seed}");
        Self(seed | 1)
    }

    /// A part of `limit`.
    pub(crate) fn below(&mut self, limit: Duration) -> Duration {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let part = (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f64 / f64::from(1 << 24);
        limit.mul_f64(part)
    }
}
