//! The integer figures, against the formulas in floating point.

use super::*;
use crate::membership::detector::pace::{Pace, log10_q16};

#[test]
fn logarithms_are_low_by_less_than_a_ten_thousandth() {
    for n in 1..=65_536 {
        let exact = f64::from(n).log10();
        let fixed = log10_q16(n) as f64 / 65_536.0;
        assert!(fixed <= exact + 1e-9, "{n}");
        assert!(exact - fixed < 1e-4, "{n}");
    }
}

#[test]
fn paces_are_those_of_the_formulas() {
    for n in 1..=MEMBER_COUNT_MAX as u32 {
        let pace = Pace::new(PROBE_INTERVAL, n);
        assert_eq!(pace.probe_timeout(), millis(150));
        assert_eq!(u32::from(pace.send_count_max()), 4 * (f64::from(n + 1).log10().ceil() as u32));
        let min = 4.0 * f64::from(n).log10().max(1.0) * 0.5;
        let c = if n < 4 { 0 } else { 2 };
        for confirmations in 0..=2 {
            let j = confirmations.min(c) as f64;
            let fraction = if c == 0 { 1.0 } else { (j + 1.0).ln() / (c as f64 + 1.0).ln() };
            let exact = 6.0 * min - 5.0 * min * fraction;
            let fixed = pace.suspicion(confirmations).as_secs_f64();
            assert!((fixed - exact).abs() < 0.002, "{n} {confirmations}: {fixed} {exact}");
        }
        let doublings = (f64::from(n).log2() - 5.0).ceil().max(0.0) as u32;
        assert_eq!(pace.sync_interval(), seconds(30) * (1 + doublings), "{n}");
    }
}

#[test]
fn a_detector_has_the_documented_size() {
    assert_eq!(size_of::<Entry>(), 48);
    assert!(size_of::<Detector<'_>>() <= 640, "{}", size_of::<Detector<'_>>());
    let bytes = size_of::<Detector<'_>>() + MEMBER_COUNT_MAX * size_of::<Entry>();
    assert!(bytes <= 13 * 1024, "{bytes}");
    assert!(size_of::<DetectorOutput>() <= 24);
}
