//! Where an address's mail goes: users, aliases, alias domains, `user+detail`, postmaster and
//! abuse, the domain's catch-all, in this order.
//! It does not know who asks: it is asked for each recipient. A user's own address takes one query.

use std::collections::HashSet;

use super::Store;
use super::error::StoreError;
use super::sql::Statement;
use crate::mail::{Destination, EmailAddress, INBOX, MailboxId};

/// How many aliases may lead to one another before it is a loop to us.
const ALIAS_DEPTH_MAX: usize = 10;
/// How many mailboxes one address may lead to.
const DESTINATIONS_MAX: usize = 1_000;
/// What parts a user from the detail behind it (RFC 5233).
const DETAIL: char = '+';
/// Always there in each domain (RFC 5321 §4.5.1, RFC 2142 §4).
const ALWAYS_THERE: [&str; 2] = ["postmaster", "abuse"];

/// What the store knows of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Mailboxes its mail goes to; never empty.
    Mailboxes(Vec<Destination>),
    /// The domain is served here, the address is nobody's.
    Nobody,
    /// The domain is not served here.
    ForeignDomain,
    /// All it leads to may not receive.
    Disabled,
    /// One it leads to has no room left. One is enough: the others would have the mail and this
    /// one never would.
    Full,
}

/// What one address is, before what it leads to is asked for.
enum Known {
    Account(AccountRow),
    Leads(Vec<String>),
    Nobody,
    Foreign,
}

struct AccountRow {
    is_active: bool,
    is_full: bool,
    destination: Destination,
}

struct DomainRow {
    name: String,
    catch_all: String,
}

impl Store {
    /// Where an address's mail goes, whatever it leads to followed.
    ///
    /// # Errors
    /// The database does not answer: temporary, and never a "nobody".
    pub async fn find(&self, address: &EmailAddress) -> Result<Found, StoreError> {
        let mut found: Vec<Destination> = Vec::new();
        let (mut is_disabled, mut is_full, mut is_foreign) = (false, false, false);
        let mut seen = HashSet::from([address.to_string()]);
        let mut asked = vec![address.clone()];
        for depth in 0..ALIAS_DEPTH_MAX {
            let mut next = Vec::new();
            for address in asked {
                match self.known(&address).await? {
                    Known::Account(account) if !account.is_active => is_disabled = true,
                    Known::Account(account) => {
                        is_full |= account.is_full;
                        let mailbox = account.destination.mailbox;
                        if found.iter().all(|there| there.mailbox != mailbox) {
                            found.push(account.destination);
                        }
                    }
                    Known::Leads(targets) => next.extend(targets),
                    Known::Nobody => {}
                    Known::Foreign => is_foreign |= depth == 0,
                }
            }
            next.retain(|target| seen.insert(target.clone()));
            if next.is_empty() || found.len() + next.len() > DESTINATIONS_MAX {
                break;
            }
            asked = next.iter().filter_map(|next| EmailAddress::parse(next).ok()).collect();
        }
        Ok(match () {
            () if is_full => Found::Full,
            () if !found.is_empty() => Found::Mailboxes(found),
            () if is_disabled => Found::Disabled,
            () if is_foreign => Found::ForeignDomain,
            () => Found::Nobody,
        })
    }

    async fn known(&self, address: &EmailAddress) -> Result<Known, StoreError> {
        if let Some(known) = self.known_by_name(address).await? {
            return Ok(known);
        }
        let Some(domain) = self.domain(address.domain()).await? else {
            return Ok(Known::Foreign);
        };
        let mut address = address.clone();
        if domain.name != address.domain() {
            address = address.at(&domain.name);
            if let Some(known) = self.known_by_name(&address).await? {
                return Ok(known);
            }
        }
        let user = address.local().split_once(DETAIL).map(|(user, _)| user);
        if let Some(user) = user.and_then(|user| address.of(user))
            && let Some(known) = self.known_by_name(&user).await?
        {
            return Ok(known);
        }
        if ALWAYS_THERE.contains(&address.local())
            && let Some(target) = self.postmaster(&domain.name).await?
        {
            return Ok(Known::Leads(vec![target]));
        }
        Ok(match domain.catch_all {
            nobody if nobody.is_empty() => Known::Nobody,
            target => Known::Leads(vec![target]),
        })
    }

    /// A user or an alias of exactly this name.
    async fn known_by_name(&self, address: &EmailAddress) -> Result<Option<Known>, StoreError> {
        if let Some(account) = self.account(&address.to_string()).await? {
            return Ok(Some(Known::Account(account)));
        }
        let find = Statement::new("SELECT target FROM aliases WHERE address = $1");
        let rows = self.database.readers().rows(&find.bind(address.to_string())).await?;
        let targets: Vec<String> = rows.iter().map(|row| row.text(0)).collect::<Result<_, _>>()?;
        Ok(if targets.is_empty() { None } else { Some(Known::Leads(targets)) })
    }

    async fn account(&self, address: &str) -> Result<Option<AccountRow>, StoreError> {
        let find = Statement::new(
            "SELECT accounts.state, accounts.directory, mailboxes.id, \
             quota_octets, quota_messages, \
             CASE WHEN quota_octets = 0 THEN 0 ELSE (SELECT CAST(sum(mine.octets) AS {bigint}) \
             FROM mailboxes mine WHERE mine.account_id = accounts.id) END, \
             CASE WHEN quota_messages = 0 THEN 0 ELSE (SELECT CAST(sum(mine.messages) AS \
             {bigint}) FROM mailboxes mine WHERE mine.account_id = accounts.id) END \
             FROM accounts \
             JOIN mailboxes ON mailboxes.account_id = accounts.id AND mailboxes.name = $1 \
             WHERE accounts.address = $2",
        );
        let row = self.database.readers().row(&find.bind(INBOX).bind(address)).await?;
        let read = row.map(|row| {
            let (octets_max, messages_max) = (row.int(3)?, row.int(4)?);
            if octets_max > 0 || messages_max > 0 {
                self.database.writer().watch_quotas();
            }
            let is_full = (octets_max > 0 && row.int(5)? >= octets_max)
                || (messages_max > 0 && row.int(6)? >= messages_max);
            let (mailbox, directory) = (MailboxId(row.int(2)?), row.text(1)?);
            let destination = Destination { mailbox, directory };
            Ok(AccountRow { is_active: row.text(0)? == "active", is_full, destination })
        });
        read.transpose()
    }

    /// Where mail to this host's own postmaster goes: to the oldest user of all.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn find_hosts_postmaster(&self) -> Result<Found, StoreError> {
        let target = self.postmaster("").await?.and_then(|user| EmailAddress::parse(&user).ok());
        match target {
            Some(target) => self.find(&target).await,
            None => Ok(Found::Nobody),
        }
    }

    /// The domain of this name, or the one it is another name of.
    async fn domain(&self, name: &str) -> Result<Option<DomainRow>, StoreError> {
        let find = Statement::new(
            "SELECT name, catch_all FROM domains WHERE name = $1 \
             UNION ALL SELECT name, catch_all FROM domains \
             WHERE id = (SELECT domain_id FROM domain_aliases WHERE name = $1)",
        );
        let row = self.database.readers().row(&find.bind(name)).await?;
        row.map(|row| Ok(DomainRow { name: row.text(0)?, catch_all: row.text(1)? })).transpose()
    }

    /// The real name of an alias domain.
    pub(super) async fn real_domain(&self, name: &str) -> Result<Option<String>, StoreError> {
        let find = Statement::new(
            "SELECT name FROM domains \
             WHERE id = (SELECT domain_id FROM domain_aliases WHERE name = $1)",
        );
        let row = self.database.readers().row(&find.bind(name)).await?;
        row.map(|row| row.text(0)).transpose()
    }

    /// Who reads what comes to postmaster and abuse of a domain: whom the domain's setting names,
    /// else its oldest user, else the oldest of all. `None`: nobody is there at all.
    async fn postmaster(&self, domain: &str) -> Result<Option<String>, StoreError> {
        let set = Statement::new("SELECT value FROM settings WHERE name = $1");
        let of_domain = Statement::new(
            "SELECT address FROM accounts WHERE state = 'active' AND domain_id = \
             (SELECT id FROM domains WHERE name = $1) ORDER BY id LIMIT 1",
        );
        let of_all = "SELECT address FROM accounts WHERE state = 'active' ORDER BY id LIMIT 1";
        for find in [
            set.bind(super::domains::postmaster_setting(domain)),
            of_domain.bind(domain),
            Statement::new(of_all),
        ] {
            if let Some(row) = self.database.readers().row(&find).await? {
                return row.text(0).map(Some);
            }
        }
        Ok(None)
    }
}
