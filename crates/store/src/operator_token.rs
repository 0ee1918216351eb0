//! Operators' tokens: who holds one, what it allows, and until when. Only the SHA-256 of a token is kept.

use crate::engine::{Row, SqlError};
use edgeward_core::{Digest, Role, Timestamp, TokenId};

use crate::column::{Text, params};
use crate::database::{View, Writer};
use crate::error::StoreError;

/// What is known of an operator token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Its id.
    pub id: TokenId,
    /// Whose it is, for people.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it was made.
    pub created_at_ms: Timestamp,
    /// When it stops working; none for never.
    pub expires_at_ms: Option<Timestamp>,
    /// When it was revoked; none if it was not.
    pub revoked_at_ms: Option<Timestamp>,
}

const TOKEN: &str = "SELECT id, name, role, created_at_ms, expires_at_ms, revoked_at_ms FROM operator_tokens";

impl TokenRow {
    fn read(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self {
            id: row.get::<Text<_>>(0)?.0,
            name: row.get(1)?,
            role: row.get::<Text<_>>(2)?.0,
            created_at_ms: Timestamp(row.get(3)?),
            expires_at_ms: row.get::<Option<i64>>(4)?.map(Timestamp),
            revoked_at_ms: row.get::<Option<i64>>(5)?.map(Timestamp),
        })
    }

    /// Whether it works at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at_ms.is_none() && self.expires_at_ms.is_none_or(|end| now < end)
    }
}

impl View<'_> {
    /// The token with this hash, whether or not it still works.
    ///
    /// # Errors
    /// The database fails.
    pub fn operator_token(&self, hash: Digest) -> Result<Option<TokenRow>, StoreError> {
        let sql = format!("{TOKEN} WHERE hash = ?1");
        self.row("looking for an operator token", &sql, params![Text(hash)], TokenRow::read)
    }

    /// Every token that was made and not yet forgotten, the oldest first.
    ///
    /// # Errors
    /// The database fails.
    pub fn operator_tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        let sql = format!("{TOKEN} ORDER BY created_at_ms, id");
        self.rows("reading the operator tokens", &sql, &[], TokenRow::read)
    }
}

impl Writer<'_> {
    /// Keeps a new token.
    ///
    /// # Errors
    /// The database fails, or a token of this id or secret exists.
    pub fn put_operator_token(&self, hash: Digest, token: &TokenRow) -> Result<(), StoreError> {
        self.execute(
            "keeping an operator token",
            "INSERT INTO operator_tokens (id, hash, name, role, created_at_ms, expires_at_ms, revoked_at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                Text(&token.id),
                Text(hash),
                token.name,
                token.role.as_str(),
                token.created_at_ms.0,
                token.expires_at_ms.map(|at| at.0),
                token.revoked_at_ms.map(|at| at.0)
            ],
        )?;
        Ok(())
    }

    /// Revokes a token; false if there is none of this id that was not revoked already.
    ///
    /// # Errors
    /// The database fails.
    pub fn revoke_operator_token(&self, id: &TokenId, now: Timestamp) -> Result<bool, StoreError> {
        let sql = "UPDATE operator_tokens SET revoked_at_ms = ?2 WHERE id = ?1 AND revoked_at_ms IS NULL";
        Ok(self.execute("revoking an operator token", sql, params![Text(id), now.0])? > 0)
    }
}
