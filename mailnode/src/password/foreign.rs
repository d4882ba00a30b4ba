//! The forms of password hashes that other servers keep, with or without Dovecot's `{SCHEME}`.
//! It does not know where they come from; imports ask whether a text is one, logins what it says.

use sha_crypt::{Params, PasswordHash, PasswordVerifier, ShaCrypt};

use super::salted::{Digest, Pbkdf2, Salted};
use super::{OWN_MIB, verify_phc};

/// A check that takes more memory than this is not taken over, in MiB.
const MIB_MAX: u32 = 256;
/// A check that goes round more often is not taken over: seconds of a core for each try.
const ROUNDS_MAX: u32 = 5_000_000;
/// 2 to this many rounds of bcrypt are some 4 s.
const BCRYPT_COST_MAX: u32 = 16;
/// The alphabet of crypt(3).
const CRYPT64: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Why a text cannot be taken over as a password's hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is the password, or as good as it.
    #[error("{{{0}}} keeps the password itself: hash it first (or give it in column `password`)")]
    Plain(String),
    /// A kind of hash that no longer holds.
    #[error("{0} can be broken by trying: such users need a new password")]
    Weak(&'static str),
    /// Nobody knows it here.
    #[error(
        "{0} is not known; known: argon2id, argon2i, argon2d, bcrypt ($2a$ $2b$ $2y$), $5$, $6$, \
         {{SSHA}}, {{SSHA256}}, {{SSHA512}}, {{PBKDF2}}, {{PBKDF2-SHA256}}, {{PBKDF2-SHA512}}"
    )]
    Unknown(String),
    /// Cut off, or a letter too many.
    #[error("it is no whole {0} hash")]
    Broken(&'static str),
    /// Each login would cost too much.
    #[error("this {0} hash takes more than {1} for each login")]
    TooDear(&'static str, &'static str),
}

/// A kept hash, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form<'a> {
    /// Argon2 of any kind, a PHC string, and its memory in KiB.
    Argon2(&'a str, u32),
    /// `$2a$`, `$2b$`, `$2y$`.
    Bcrypt(&'a str),
    /// `$5$` and `$6$`: salt, rounds, sum.
    ShaCrypt {
        /// `$6$`.
        long: bool,
        /// As it stands there.
        salt: &'a str,
        /// How often it goes round.
        rounds: u32,
        /// As it stands there.
        sum: &'a str,
    },
    /// A digest over password and salt.
    Salted(Salted),
    /// PBKDF2 with any of the three digests.
    Pbkdf2(Pbkdf2),
}

impl<'a> Form<'a> {
    /// Understands a kept text.
    ///
    /// # Errors
    /// Why it cannot be taken over.
    pub fn of(kept: &'a str) -> Result<Self, Unfit> {
        let form = if kept.starts_with('{') { labelled(kept) } else { modular(kept) }?;
        match form {
            Self::Pbkdf2(Pbkdf2 { rounds: 0, .. }) => Err(Unfit::Broken("PBKDF2")),
            Self::Pbkdf2(Pbkdf2 { rounds, .. }) if rounds > ROUNDS_MAX => {
                Err(Unfit::TooDear("PBKDF2", "5,000,000 rounds"))
            }
            form => Ok(form),
        }
    }

    /// Whether a password is the one it was made of; every comparison in constant time.
    pub fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2(kept, _) => verify_phc(password, kept),
            Self::Bcrypt(kept) => bcrypt::verify(password, kept).unwrap_or(false),
            Self::ShaCrypt { long, salt, rounds, sum } => {
                let id = if *long { 6 } else { 5 };
                let whole = PasswordHash::new(format!("${id}$rounds={rounds}${salt}${sum}"));
                let check = |whole| ShaCrypt::default().verify_password(password, &whole);
                whole.is_ok_and(|whole| check(whole).is_ok())
            }
            Self::Salted(salted) => salted.verify(password),
            Self::Pbkdf2(pbkdf2) => pbkdf2.verify(password),
        }
    }

    /// Memory one check takes, in MiB. What takes next to none is counted as our own: it is the
    /// processor's time that it takes.
    pub(super) fn mib(&self) -> u32 {
        match self {
            Self::Argon2(_, kib) => kib.div_ceil(1024),
            _ => OWN_MIB,
        }
    }
}

/// `{SCHEME}…`, as Dovecot and LDAP servers write it.
fn labelled(kept: &str) -> Result<Form<'_>, Unfit> {
    let Some((scheme, rest)) = kept[1..].split_once('}') else {
        return Err(Unfit::Unknown("a text that begins with `{` and has no `}`".to_owned()));
    };
    let scheme = scheme.to_ascii_uppercase();
    let (name, encoding) = scheme.split_once('.').unwrap_or((&scheme, "B64"));
    let salted = |digest, name| {
        Salted::parse(digest, rest, encoding).map(Form::Salted).ok_or(Unfit::Broken(name))
    };
    let pbkdf2 =
        |digest| Pbkdf2::parse(digest, rest).map(Form::Pbkdf2).ok_or(Unfit::Broken("PBKDF2"));
    match name {
        "CRYPT" | "ARGON2" | "ARGON2ID" | "ARGON2I" | "BLF-CRYPT" | "SHA256-CRYPT"
        | "SHA512-CRYPT" => modular(rest),
        "SSHA" => salted(Digest::Sha1, "SSHA"),
        "SSHA256" => salted(Digest::Sha256, "SSHA256"),
        "SSHA512" => salted(Digest::Sha512, "SSHA512"),
        "PBKDF2" if rest.starts_with("$1$") => {
            Pbkdf2::dovecot(rest).map(Form::Pbkdf2).ok_or(Unfit::Broken("PBKDF2"))
        }
        "PBKDF2" | "PBKDF2-SHA1" => pbkdf2(Digest::Sha1),
        "PBKDF2-SHA256" => pbkdf2(Digest::Sha256),
        "PBKDF2-SHA512" => pbkdf2(Digest::Sha512),
        "PLAIN" | "CLEAR" | "CLEARTEXT" | "PLAIN-TRUNC" => Err(Unfit::Plain(name.to_owned())),
        "SHA" | "SHA1" | "SHA256" | "SHA512" | "PLAIN-MD5" | "LDAP-MD5" => {
            Err(Unfit::Weak("a hash without a salt"))
        }
        "MD5" | "MD5-CRYPT" | "SMD5" | "CRAM-MD5" | "HMAC-MD5" | "DIGEST-MD5" => {
            Err(Unfit::Weak("MD5"))
        }
        "DES-CRYPT" | "LANMAN" | "NTLM" => Err(Unfit::Weak("DES and its like")),
        _ => Err(Unfit::Unknown(format!("{{{scheme}}}"))),
    }
}

/// `$id$…`: crypt(3)'s way to say which hash it is.
fn modular(kept: &str) -> Result<Form<'_>, Unfit> {
    let Some((id, rest)) = kept.strip_prefix('$').and_then(|rest| rest.split_once('$')) else {
        let is_des = kept.len() == 13 && kept.bytes().all(|byte| CRYPT64.contains(&byte));
        let weak = Unfit::Weak("DES and its like");
        return Err(if is_des { weak } else { Unfit::Unknown("a text without `$`".to_owned()) });
    };
    match id {
        "argon2id" | "argon2i" | "argon2d" => argon2(kept),
        "2a" | "2b" | "2y" => bcrypt_form(kept),
        "5" => sha_crypt_form(rest, false),
        "6" => sha_crypt_form(rest, true),
        "pbkdf2" | "pbkdf2-sha256" | "pbkdf2-sha512" => {
            let digest = match id {
                "pbkdf2" => Digest::Sha1,
                "pbkdf2-sha256" => Digest::Sha256,
                _ => Digest::Sha512,
            };
            Pbkdf2::parse(digest, rest).map(Form::Pbkdf2).ok_or(Unfit::Broken("PBKDF2"))
        }
        "1" | "apr1" => Err(Unfit::Weak("MD5")),
        other => Err(Unfit::Unknown(format!("${other}$"))),
    }
}

fn argon2(kept: &str) -> Result<Form<'_>, Unfit> {
    let broken = Unfit::Broken("argon2");
    let hash = argon2::password_hash::phc::PasswordHash::new(kept).map_err(|_| broken.clone())?;
    let params = argon2::Params::try_from(&hash).map_err(|_| broken.clone())?;
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err(broken);
    }
    if params.m_cost() > MIB_MAX * 1024 {
        return Err(Unfit::TooDear("argon2", "256 MiB"));
    }
    if u64::from(params.t_cost()) * u64::from(params.m_cost()) > 4 << 20 {
        return Err(Unfit::TooDear("argon2", "4 GiB of memory to pass over"));
    }
    Ok(Form::Argon2(kept, params.m_cost()))
}

fn bcrypt_form(kept: &str) -> Result<Form<'_>, Unfit> {
    let parts: bcrypt::HashParts = kept.parse().map_err(|_| Unfit::Broken("bcrypt"))?;
    if parts.get_cost() > BCRYPT_COST_MAX {
        return Err(Unfit::TooDear("bcrypt", "2^16 rounds"));
    }
    Ok(Form::Bcrypt(kept))
}

/// `[rounds=N$]salt$sum`; rounds out of bounds count as the bound, longer salts end at 16.
fn sha_crypt_form(rest: &str, long: bool) -> Result<Form<'_>, Unfit> {
    let name = if long { "sha512-crypt" } else { "sha256-crypt" };
    let (mut rounds, mut rest) = (Params::RECOMMENDED_ROUNDS, rest);
    if let Some(given) = rest.strip_prefix("rounds=") {
        let (number, after) = given.split_once('$').ok_or(Unfit::Broken(name))?;
        rounds = number.parse().map_err(|_| Unfit::Broken(name))?;
        rest = after;
    }
    let rounds = rounds.max(Params::ROUNDS_MIN);
    if rounds > ROUNDS_MAX {
        return Err(Unfit::TooDear(name, "5,000,000 rounds"));
    }
    let (salt, sum) = rest.split_once('$').ok_or(Unfit::Broken(name))?;
    let fit = sum.len() == if long { 86 } else { 43 };
    if !fit || !sum.bytes().all(|byte| CRYPT64.contains(&byte)) {
        return Err(Unfit::Broken(name));
    }
    Ok(Form::ShaCrypt { long, salt, rounds, sum })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Secret;
    use crate::password::verify;
    use proptest::prelude::*;

    /// Each made by another program for the password `pencil`: openssl passwd, Python's bcrypt,
    /// argon2-cffi, passlib and hashlib, doveadm pw.
    const MADE: [&str; 14] = [
        "$6$saltstring$Wspbkvh9VR9k.5FhrEX5QuXIhny1ZR6t1JcW7cUaNNlvGeocueB2IYFN40CbfZ4cl/WePSJ\
         C5pA/G1VTFwAkU.",
        "$5$rounds=10000$saltstringsaltst$.uE2cEoMFhH5LTldmwqM6eQLAJZ6ZhVRy7IBA1DMFh.",
        "{SHA512-CRYPT}$6$rounds=1000$Xy$s6te.CdYQ0Qo7DPuypqDzT/T84enaTpxYjOqzs3gjD2n0qDcGtbws\
         yyDBcIrUG92RlwDXrtIJDGYXFxvnxIMa.",
        "$2b$04$Tzj70j4zF.0rrhX.nM8yFOJ/D.XzUdNLfg3GCWRSx0OebvD5fQ25q",
        "{BLF-CRYPT}$2y$04$Tzj70j4zF.0rrhX.nM8yFOJ/D.XzUdNLfg3GCWRSx0OebvD5fQ25q",
        "{CRYPT}$2a$04$Tzj70j4zF.0rrhX.nM8yFOJ/D.XzUdNLfg3GCWRSx0OebvD5fQ25q",
        "{ARGON2ID}$argon2id$v=19$m=4096,t=1,p=1$FWvQJak03ofFkDIXMjrB4w$0+iRNHoI9xgkjx7NPOcobb\
         X5ndwmSi4O6wPF8cSwSUY",
        "$argon2i$v=19$m=4096,t=1,p=2$y6dP1mARwHIJne1QC58QWA$gAXCCdjYMg+Cij8cHMYBQfU+tnncgdAow\
         7oZZKWcmpc",
        "{SSHA}IGNdO+5N6NYkH8EJS1tGHJNy/8xoRyN1wXsmqA==",
        "{SSHA256}It2nAr3PyeRffclwpJWvypnQM1dJYAWMkbM43WkB8j7IY6FY/2WmTw==",
        "{ssha512.hex}bf8ac3b6a7da2ff36aa84f873b4d9307a3d099c33229d79e52d204fffe9eab187028c655\
         a08f7c37adf4dab29d5aadc752311ed73eb1eeba96559bf4b22b75250a6c9787",
        "$pbkdf2-sha256$1000$DeE8R6iV8j5nbO29F8K49w$ZtktUZ.PGst.2q/ry6fVdya.AeD9j5TQw9mbgMT3II\
         o",
        "{PBKDF2-SHA256}1000$ujcmpNT6///fu/ceQ4jRGg$2M1ARwkdz/Jqq33fEwfp8NP2s6/6HFqiYMQYEvPkV5\
         c",
        "{PBKDF2}$1$q2lMDZ4IxdJJ8Ogr$5000$149317240804222a0eae0d641b18253e5bc344c8",
    ];

    #[test]
    fn hashes_of_other_programs_are_taken_over() {
        for kept in MADE {
            Form::of(kept).unwrap_or_else(|fault| panic!("{kept}: {fault}"));
            assert!(verify(&Secret::new("pencil".into()), kept), "{kept}");
            assert!(!verify(&Secret::new("pencils".into()), kept), "{kept}");
            assert!(!verify(&Secret::new(String::new()), kept), "{kept}");
            let cut = &kept[..kept.len() - 3]; // more than the padding
            assert!(!verify(&Secret::new("pencil".into()), cut), "{cut}");
        }
    }

    #[test]
    fn what_is_refused_is_refused_with_a_reason() {
        for (kept, reason) in [
            ("{PLAIN}pencil", "keeps the password itself"),
            ("{SHA}x", "without a salt"),
            ("$1$abcdefgh$x", "MD5"),
            ("abJnggxhB/yWI", "DES"),
            ("{NOVEL}x", "{NOVEL} is not known"),
            ("pencil", "is not known"),
            ("$6$salt$cut", "no whole sha512-crypt"),
            ("{SSHA}cut", "no whole SSHA"),
            ("$2b$31$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyz01234", "bcrypt"),
            ("$6$rounds=900000000$salt$x", "5,000,000 rounds"),
            ("$argon2id$v=19$m=1048576,t=3,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0", "256 MiB"),
        ] {
            let told = Form::of(kept).unwrap_err().to_string();
            assert!(told.contains(reason), "{kept}: {told}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(
            scheme in "(\\{[A-Z0-9-]{0,14}(\\.HEX)?\\})?",
            rest in "(\\$(5|6|2b|1|argon2id|pbkdf2-sha256)\\$)?[a-zA-Z0-9./+=,$]{0,60}.{0,4}"
        ) {
            let text = format!("{scheme}{rest}");
            let _any = Form::of(&text);
        }
    }
}
