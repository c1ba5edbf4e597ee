//! When a request was signed, and whether that is near enough.
//!
//! S3 takes x-amz-date or, without it, Date; the protocol library reads x-amz-date only, so a Date is passed on in its
//! form. The time is part of what is signed either way.

use http::header::DATE;
use http::{HeaderMap, HeaderValue};
use s3s::S3ErrorCode;
use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::{Date, Month, OffsetDateTime};

use super::refusal::Refusal;

const AMZ_DATE: &str = "x-amz-date";

/// How far clocks may be apart.
const SKEW_S_MAX: u64 = 15 * 60;

/// Refuses a header-signed request whose time is absent, unreadable or more than 15 minutes from `now_ms`.
pub(super) fn check(headers: &HeaderMap, now_ms: u64) -> Result<(), Refusal> {
    let Some(signed_at) = signed_at(headers) else {
        return Err(Refusal::new(
            S3ErrorCode::AccessDenied,
            "AWS authentication requires a valid Date or x-amz-date header",
        ));
    };
    let now = i64::try_from(now_ms / 1_000).unwrap_or(i64::MAX);
    if signed_at.abs_diff(now) <= SKEW_S_MAX {
        return Ok(());
    }
    Err(Refusal::new(
        S3ErrorCode::RequestTimeTooSkewed,
        "The difference between the request time and the current time is too large.",
    )
    .with("RequestTime", rfc3339(signed_at))
    .with("ServerTime", rfc3339(now))
    .with("MaxAllowedSkewMilliseconds", (SKEW_S_MAX * 1_000).to_string()))
}

/// Adds the x-amz-date that a request with a Date alone does not carry.
pub(super) fn complete(headers: &mut HeaderMap) {
    if headers.contains_key(AMZ_DATE) {
        return;
    }
    let value = signed_at(headers).and_then(amz_date).and_then(|text| HeaderValue::from_str(&text).ok());
    if let Some(value) = value {
        headers.insert(AMZ_DATE, value);
    }
}

/// Seconds since 1970 of `yyyyMMdd'T'HHmmss'Z'`.
pub(super) fn amz_date_s(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |range: std::ops::Range<usize>| -> Option<u16> {
        let digits = bytes.get(range)?;
        digits.iter().try_fold(0_u16, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u16::from(digit - b'0')))
    };
    let byte = |range| number(range).and_then(|two| u8::try_from(two).ok());
    let month = Month::try_from(byte(4..6)?).ok()?;
    let date = Date::from_calendar_date(i32::from(number(0..4)?), month, byte(6..8)?).ok()?;
    Some(date.with_hms(byte(9..11)?, byte(11..13)?, byte(13..15)?).ok()?.assume_utc().unix_timestamp())
}

fn signed_at(headers: &HeaderMap) -> Option<i64> {
    if let Some(value) = headers.get(AMZ_DATE) {
        return amz_date_s(value.to_str().ok()?);
    }
    let text = headers.get(DATE)?.to_str().ok()?;
    amz_date_s(text).or_else(|| OffsetDateTime::parse(text, &Rfc2822).ok().map(OffsetDateTime::unix_timestamp))
}

fn amz_date(seconds: i64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    Some(format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", time.hour(), time.minute(), time.second()))
}

fn rfc3339(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_header_is_passed_on_in_the_form_of_x_amz_date() {
        for form in ["Fri, 24 May 2013 00:00:00 GMT", "20130524T000000Z"] {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, form.parse().unwrap());
            complete(&mut headers);
            assert_eq!(headers.get(AMZ_DATE).unwrap(), "20130524T000000Z", "{form}");
        }
    }

    #[test]
    fn only_the_long_basic_form_of_a_time_that_exists_is_read() {
        assert_eq!(amz_date_s("20130524T000000Z"), Some(1_369_353_600));
        for wrong in ["20130524T000000", "20130524 000000Z", "20130532T000000Z", "2013-05-24T00:00", "+0130524T000000Z"]
        {
            assert_eq!(amz_date_s(wrong), None, "{wrong}");
        }
    }
}
