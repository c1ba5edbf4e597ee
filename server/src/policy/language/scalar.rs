//! Numbers, moments and booleans as conditions compare them: exactly, or not at all.

use std::net::IpAddr;

use time::format_description::well_known::Iso8601;
use time::{Date, Month, OffsetDateTime, Time};

/// Decimals are compared exactly, to nine places.
const PLACES: usize = 9;

/// A decimal number, in billionths.
pub(super) fn number(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let fraction_digits = fraction.trim_end_matches('0');
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) || whole.len() > 20 || fraction_digits.len() > PLACES {
        return None;
    }
    format!("{whole}{fraction_digits:0<PLACES$}").parse::<i128>().ok().map(|billionths| sign * billionths)
}

/// A moment in nanoseconds since 1970: a date of ISO 8601 in one of the W3C's forms, or seconds since 1970.
pub(super) fn moment(text: &str) -> Option<i128> {
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.len() {
        4 if all_digits => midnight(text, "01", "01"),
        _ if all_digits => text.parse::<i64>().ok().map(|seconds| i128::from(seconds) * 1_000_000_000),
        7 => text.split_once('-').and_then(|(year, month)| midnight(year, month, "01")),
        10 => match text.split('-').collect::<Vec<_>>()[..] {
            [year, month, day] => midnight(year, month, day),
            _ => None,
        },
        // In whole, with its zone: a time without one is another moment elsewhere.
        _ if text.contains('T') => OffsetDateTime::parse(text, &Iso8601::DEFAULT).ok().map(nanoseconds),
        _ => None,
    }
}

fn midnight(year: &str, month: &str, day: &str) -> Option<i128> {
    let digits = |text: &str, len: usize| text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(year, 4) || !digits(month, 2) || !digits(day, 2) {
        return None;
    }
    let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    let date = Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()?;
    Some(nanoseconds(date.with_time(Time::MIDNIGHT).assume_utc()))
}

fn nanoseconds(moment: OffsetDateTime) -> i128 {
    moment.unix_timestamp_nanos()
}

/// `true` or `false`, in any case.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// An address; one of IPv4 that came over an IPv6 socket is one of IPv4.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_exactly() {
        assert!(number("9007199254740993") > number("9007199254740992"));
        assert_eq!(number("1.50"), number("+01.5"));
        assert!(number("-2") < number("-1.999999999"));
        for text in ["", "1e3", ".5", "1.", "0x1", "1_0", "--1", "1.0000000001", "NaN", "²"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn every_form_of_a_moment_names_the_same_one() {
        let new_year = Some(1_767_225_600_000_000_000);
        for text in ["2026", "2026-01", "2026-01-01", "2026-01-01T00:00Z", "2026-01-01T00:00:00Z", "1767225600"] {
            assert_eq!(moment(text), new_year, "{text}");
        }
        assert_eq!(moment("2026-01-01T01:00:00.000+01:00"), new_year);
        for text in
            ["", "2026-1-1", "2026-13", "2026-02-30", "2026-01-01T00:00:00", "yesterday", "-1", "20 6", "2026+01"]
        {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn an_address_of_ipv4_is_one_however_it_came() {
        assert_eq!(address("::ffff:203.0.113.9"), address("203.0.113.9"));
        assert_eq!(address("203.0.113.009"), None);
    }
}
