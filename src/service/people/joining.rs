//! How people come in: a link is mailed to an address, and who opens it has proved to have that address. Only then a name and a
//! password are asked for, so that nobody can prepare somebody else's account with a password of theirs.

use billing::{
    ids::{AccountId, PersonId},
    member::Role,
    plan::Plan,
};
use ledger::people::links::{Purpose, StoredLink};
use uuid::Uuid;

use super::{
    super::{Service, ServiceError, accounts},
    Person, RESET_MS, SIGN_UP_MS, SignUp, check_name, check_password, find_link,
    letters::NOTICE_MS,
    mail, make_link, members,
    members::By,
    token_hash,
};

/// Mails a link to an address that wants to sign up. An address that has signed up already, and is a member of some account, is
/// told so, by mail; who is a member of none gets the link, which leads to an account as it does for others.
///
/// # Errors
///
/// Nobody may sign up alone ([`Conflict`](ServiceError::Conflict)), the text is no address
/// ([`Invalid`](ServiceError::Invalid)), or no letter can be sent now.
pub async fn sign_up(service: &Service, email: &str) -> Result<(), ServiceError> {
    if service.people.sign_up != SignUp::Open {
        return Err(ServiceError::conflict("People come in here by an invitation alone: ask whoever runs this."));
    }
    let email = accounts::address(email)?;
    let known = service.ledger().person_by_email(&email).await?;
    let is_seated = match &known {
        Some(person) => person.disabled_at.is_some() || !service.ledger().memberships(person.id).await?.is_empty(),
        None => false,
    };
    if is_seated {
        make_link(service, &email, Purpose::Nothing).await?;
        let there = service.people.page("forgot");
        let text = format!(
            "Somebody wants to sign up with this address, which has signed up already.\n\n\
             If that was you, sign in. A forgotten password is replaced here:\n\n{there}\n"
        );
        return mail(service, &email, "You have signed up already", text, NOTICE_MS).await;
    }
    let token = make_link(service, &email, Purpose::SignUp).await?;
    let link = service.people.link_to("join", &token);
    let text = format!(
        "Somebody, you we hope, wants to sign up with this address. This link goes on; it is good once, for a day:\n\n{link}\n\n\
         If that was not you, nothing needs to be done.\n"
    );
    mail(service, &email, "Sign up", text, SIGN_UP_MS).await
}

/// What a link that makes a person or a member leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invited {
    /// The address that it was mailed to.
    pub email: String,
    /// The account, by its address, and the role in it; none for a link that opens a new account.
    pub to: Option<(String, Role)>,
    /// Whether the address is a person's already.
    pub is_known: bool,
}

/// Looks at a link, and does nothing: mail is read by programs too.
///
/// # Errors
///
/// The link is not good ([`NotFound`](ServiceError::NotFound)), or the ledger can't be read.
pub async fn look(service: &Service, token: &str) -> Result<Invited, ServiceError> {
    let link = find_link(service, token).await?;
    let to = match link.purpose {
        Purpose::Invite { account_id, role, .. } => {
            let account = service.ledger().account(account_id).await?.ok_or(ServiceError::NotFound("the account"))?;
            Some((account.email, role))
        }
        Purpose::SignUp => None,
        Purpose::Reset | Purpose::Nothing => return Err(ServiceError::NotFound("this link")),
    };
    let is_known = service.ledger().person_by_email(&link.email).await?.is_some();
    Ok(Invited { email: link.email, to, is_known })
}

/// Who came in by a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    /// The person.
    pub person: PersonId,
    /// Whether the link has made the person: then whoever used it chose the password just now.
    pub is_new: bool,
}

/// Uses a link that makes a person or a member. A new person needs a name and a password.
///
/// # Errors
///
/// The link is not good ([`NotFound`](ServiceError::NotFound)), the name or the password is refused
/// ([`Invalid`](ServiceError::Invalid)), the account has too many members, or the ledger can't be written.
pub async fn join(service: &Service, token: &str, name: &str, password: &str) -> Result<Joined, ServiceError> {
    let (link, hash, now) = (find_link(service, token).await?, token_hash(token), service.now());
    if !matches!(link.purpose, Purpose::SignUp | Purpose::Invite { .. }) {
        return Err(ServiceError::NotFound("this link"));
    }
    let gone = || ServiceError::NotFound("this link: it was just used, and");
    let known = service.ledger().person_by_email(&link.email).await?;
    let joined = if let Some(person) = known {
        if !service.ledger().use_link(&hash, now).await? {
            return Err(gone());
        }
        Joined { person: person.id, is_new: false }
    } else {
        service.people.check_passwords()?;
        let name = check_name(name)?;
        check_password(&link.email, password)?;
        let password = Some(service.people.passwords.hash(password).await?);
        let id = PersonId(Uuid::now_v7());
        let email = link.email.clone();
        let new = Person { id, email, name, password, verified_at: now, created_at: now, disabled_at: None };
        if !service.ledger().add_person(&new, &hash, now).await? {
            return Err(gone());
        }
        Joined { person: id, is_new: true }
    };
    if !seat(service, &link, joined.person).await? && !joined.is_new {
        let message = "The account of this address is others' by now: ask its members to invite you.";
        return Err(ServiceError::conflict(message));
    }
    Ok(joined)
}

/// Gives a person what a link leads to: a place in an account, or an account of the person's own. Returns whether the person is a
/// member now: not where others own the account of the address.
pub(super) async fn seat(service: &Service, link: &StoredLink, person: PersonId) -> Result<bool, ServiceError> {
    if let Purpose::Invite { account_id, role, by } = link.purpose {
        members::seat(service, account_id, person, role, By::Invitation(by)).await?;
        return Ok(true);
    }
    Ok(own_account(service, person, &link.email).await?.is_some())
}

/// The account of a person's own address: a new one, or the one that an operator made for this address and that has no
/// members yet. None where others own it.
pub(super) async fn own_account(
    service: &Service,
    person: PersonId,
    email: &str,
) -> Result<Option<AccountId>, ServiceError> {
    let id = if let Some(id) = accounts::by_address(service, email).await? {
        id
    } else {
        let id = AccountId(Uuid::now_v7());
        accounts::open(service, id, email, Plan::Free).await?;
        id
    };
    Ok(members::claim(service, id, person).await?.then_some(id))
}

/// Mails a link that sets another password, if the address is a person's.
///
/// # Errors
///
/// The text is no address ([`Invalid`](ServiceError::Invalid)), passwords open nothing
/// ([`Conflict`](ServiceError::Conflict)), or no letter can be sent now.
pub async fn forgot(service: &Service, email: &str) -> Result<(), ServiceError> {
    service.people.check_passwords()?;
    let email = accounts::address(email)?;
    let found = service.ledger().person_by_email(&email).await?;
    let Some(person) = found.filter(|person| person.disabled_at.is_none()) else {
        // The same work.
        make_link(service, &email, Purpose::Nothing).await?;
        return Ok(());
    };
    let token = make_link(service, &email, Purpose::Reset).await?;
    let link = service.people.link_to("reset", &token);
    let text = format!(
        "Somebody, you we hope, has forgotten the password of this address. This link sets another one; it is good once, for half \
         an hour:\n\n{link}\n\nIf that was not you, nothing needs to be done.\n"
    );
    mail(service, &person.email, "Set another password", text, RESET_MS).await
}

/// Sets another password by a link, and ends all sessions.
///
/// # Errors
///
/// The link is not good ([`NotFound`](ServiceError::NotFound)), the password is refused
/// ([`Invalid`](ServiceError::Invalid)), passwords open nothing ([`Conflict`](ServiceError::Conflict)), or the ledger can't be
/// written.
pub async fn reset(service: &Service, token: &str, password: &str) -> Result<PersonId, ServiceError> {
    service.people.check_passwords()?;
    let link = find_link(service, token).await?;
    let gone = || ServiceError::NotFound("this link");
    if link.purpose != Purpose::Reset {
        return Err(gone());
    }
    let found = service.ledger().person_by_email(&link.email).await?;
    let person = found.filter(|person| person.disabled_at.is_none()).ok_or_else(gone)?;
    check_password(&person.email, password)?;
    let hash = service.people.passwords.hash(password).await?;
    let (link, now) = (token_hash(token), service.now());
    if !service.ledger().set_password(&person, &hash, Some(&link), None, now).await? {
        return Err(gone());
    }
    tell_of_password(service, &person).await?;
    Ok(person.id)
}

/// Whether a link sets a password, and is good. It does nothing.
///
/// # Errors
///
/// It is not ([`NotFound`](ServiceError::NotFound)), or the ledger can't be read.
pub async fn look_at_reset(service: &Service, token: &str) -> Result<(), ServiceError> {
    match find_link(service, token).await?.purpose {
        Purpose::Reset => Ok(()),
        _ => Err(ServiceError::NotFound("this link")),
    }
}

/// Tells a person of another password: if it was somebody else, the person should know.
pub(super) async fn tell_of_password(service: &Service, person: &Person) -> Result<(), ServiceError> {
    let text = "The password of this address was changed, and all sessions but the one that did it have ended.\n\n\
                If that was not you, set another one at once, and look at your keys.\n";
    mail(service, &person.email, "Your password was changed", text.to_owned(), NOTICE_MS).await
}
