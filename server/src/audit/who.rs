//! On whose behalf a task works: set where a request or a command comes in, read where a master key is used.

use std::sync::Arc;

tokio::task_local! {
    static WHO: Who;
}

/// An access key, an administrator, or the server itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Who(Arc<str>);

impl Who {
    /// The access key that a request claims. Its operation, and so the use of a key for it, comes after its signature
    /// was found right.
    pub fn access_key(id: &str) -> Self {
        Self(id.into())
    }

    /// Whoever sends a request without a signature.
    pub fn anonymous() -> Self {
        Self("anonymous".into())
    }

    /// The user who gave a command.
    pub fn uid(uid: u32) -> Self {
        Self(format!("uid:{uid}").into())
    }

    /// Nobody: the server's own jobs, and what it looks up before it knows whom it deals with.
    pub fn server() -> Self {
        Self("-".into())
    }

    /// On whose behalf this task works.
    pub fn current() -> Self {
        WHO.try_with(Self::clone).unwrap_or_else(|_| Self::server())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Does `work` on behalf of somebody.
pub async fn on_behalf_of<T>(who: Who, work: impl Future<Output = T>) -> T {
    WHO.scope(who, work).await
}

/// A task of its own, on behalf of the same.
pub fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    tokio::spawn(on_behalf_of(Who::current(), work))
}
