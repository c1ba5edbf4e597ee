//! Queries, for whatever error their caller has.

use rusqlite::{Connection, Params, Row};

/// Every row of a query, read by `read`.
pub(crate) fn rows<T, E: From<rusqlite::Error>>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, E>,
) -> Result<Vec<T>, E> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(read(row)?);
    }
    Ok(all)
}
