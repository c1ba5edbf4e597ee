//! The log: to standard error, one event a line, as much as was asked for.
//!
//! The protocol library and the HTTP stack dump whole requests, customer keys and the right signature of a wrong
//! request below `info`. Their level is capped here by a filter of its own, beside what the user asks for, so that no
//! setting lifts it. The library also reports every client error as an error of its own; requests have their line
//! already (`strongroom::request`), so it is silent.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, FilterFn, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The most that code which sees requests or keys may say, by the first word of its target.
const CAPS: &[(&str, LevelFilter)] = &[
    ("s3s", LevelFilter::OFF),
    ("cryptoki", LevelFilter::WARN),
    ("h2", LevelFilter::WARN),
    ("hyper", LevelFilter::WARN),
    ("hyper_util", LevelFilter::WARN),
    ("rustls", LevelFilter::WARN),
    ("tokio", LevelFilter::WARN),
    ("tower", LevelFilter::WARN),
];

/// What to log, as `--log` takes it: a level, or directives like `warn,strongroom_server=debug`.
#[derive(Clone, Debug)]
pub struct Directives(String);

impl std::str::FromStr for Directives {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        EnvFilter::builder().parse(text).map(|_| Self(text.to_owned()))
    }
}

impl Default for Directives {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl Directives {
    /// What a command that ends says: nothing but warnings.
    pub fn warnings() -> Self {
        Self("warn".to_owned())
    }
}

/// Starts logging for this process. A second call changes nothing.
///
/// # Errors
/// The directives do not parse.
pub fn start(directives: &Directives) -> Result<(), ParseError> {
    let _ = subscriber(directives, std::io::stderr, std::io::stderr().is_terminal())?.try_init();
    Ok(())
}

fn subscriber<W>(directives: &Directives, writer: W, colour: bool) -> Result<impl Subscriber + Send + Sync, ParseError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let asked_for = EnvFilter::builder().parse(&directives.0)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colour);
    Ok(Registry::default().with(lines.with_filter(asked_for.and(FilterFn::new(below_cap)))))
}

fn below_cap(event: &Metadata<'_>) -> bool {
    let first = event.target().split("::").next().unwrap_or_default();
    CAPS.iter().find(|(name, _)| *name == first).is_none_or(|(_, cap)| *event.level() <= *cap)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(directives: &str, act: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(&directives.parse().unwrap(), move || writer.clone(), false).unwrap();
        tracing::subscriber::with_default(subscriber, act);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn no_directive_makes_libraries_show_requests() {
        for directives in
            ["trace", "s3s=trace,hyper=trace,h2=trace", "s3s::ops=trace", "[{req}]=trace", "s3s[call]=trace"]
        {
            let text = logged(directives, || {
                tracing::error!(target: "s3s::ops::signature", "secret-1");
                tracing::debug!(target: "s3s", req = "secret-2");
                tracing::info!(target: "hyper::proto::h1", "secret-3");
                tracing::debug!(target: "h2::codec", "secret-4");
                let span = tracing::error_span!(target: "s3s::service", "call", req = "secret-5");
                span.in_scope(|| tracing::error!(target: "strongroom_server", "shown"));
            });
            assert!(!text.contains("secret"), "{directives}: {text}");
        }
    }

    #[test]
    fn a_warning_of_a_library_and_what_was_asked_for_are_shown() {
        let text = logged("info,strongroom_server::ops=debug", || {
            tracing::warn!(target: "hyper", "warned");
            tracing::debug!(target: "strongroom_server::ops", "asked");
            tracing::debug!(target: "strongroom_server::s3", "not-asked");
        });
        assert!(text.contains("warned") && text.contains("asked") && !text.contains("not-asked"), "{text}");
    }

    #[test]
    fn nonsense_is_refused() {
        assert!("info,=/=".parse::<Directives>().is_err());
    }
}
