//! Members of an account. Their changes are decided from the members that there are, by the rules of `billing::member`, and ride
//! in the account's transition: the account's events are the list of who changed what.

use actors::resources::Decided;
use billing::{
    Timestamp,
    event::{Event, EventKind},
    ids::{AccountId, PersonId},
    key::ApiKey,
    member::{self, Act, Kept, Membership, Role},
    resource::Resource,
    time::DAY_MS,
};
use ledger::{
    Ledger,
    events::EventRow,
    people::links::{Purpose, StoredLink},
};
use uuid::Uuid;

use super::{
    super::{Service, ServiceError, accounts},
    INVITE_MS, Person, SignUp,
    letters::NOTICE_MS,
    mail, make_link,
};

impl From<Kept> for ServiceError {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::NoMember => Self::NotFound("a member with that id"),
            Kept::LastOwner | Kept::TooMany => {
                let text = kept.to_string();
                Self::Conflict(text[..1].to_uppercase() + &text[1..] + ".")
            }
        }
    }
}

/// The changes and the wishes that are shown.
const SHOWN: u64 = 20;

/// Who changes members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A member.
    Person(PersonId),
    /// The person whom it is about, by a link: of this member's, or of nobody's.
    Invitation(Option<PersonId>),
    /// The person whom it is about, who signed up.
    SignUp,
    /// An operator.
    Operator,
}

impl By {
    fn name(self) -> String {
        match self {
            Self::Person(id) => id.to_string(),
            Self::Invitation(_) => "invitation".to_owned(),
            Self::SignUp => "sign_up".to_owned(),
            Self::Operator => "operator".to_owned(),
        }
    }
}

/// Checks, with the decision itself, that a member who changes members may still do so: two owners may turn on each other at once.
fn check_may(there: &[Membership], by: By) -> Result<(), ServiceError> {
    let may = |id: PersonId| there.iter().any(|member| member.person_id == id && member.role.may(Act::Members));
    match by {
        By::Person(id) | By::Invitation(Some(id)) if !may(id) => {
            Err(ServiceError::conflict("Whoever does this is no owner of the account any more."))
        }
        By::Person(_) | By::Invitation(_) | By::SignUp | By::Operator => Ok(()),
    }
}

/// An event about a member. The log is for ever, so it has the person's id and nothing else of the person.
fn event(kind: EventKind, person: PersonId, role: Role, by: By) -> Event {
    // Each change is told, also one that was made before.
    Event::new(kind, format!("{person} {}", Uuid::now_v7()))
        .text("person_id", person.to_string())
        .text("role", role.name())
        .text("by", by.name())
}

/// Makes a person a member in a role. Who is one already stays so.
pub(super) async fn seat(
    service: &Service,
    account: AccountId,
    person: PersonId,
    role: Role,
    by: By,
) -> Result<(), ServiceError> {
    let new = Membership { account_id: account, person_id: person, role, since: service.now() };
    let decide = async |ledger: &Ledger| -> Result<_, ServiceError> {
        let there = ledger.members(account).await?;
        if there.iter().any(|member| member.person_id == person) {
            return Ok(Decided::new(Vec::new(), ()));
        }
        check_may(&there, by)?;
        let member = member::join(&there, new)?;
        let events = vec![event(EventKind::MemberJoined, person, role, by)];
        Ok(Decided { resources: vec![Resource::Member(member)], events, answer: () })
    };
    service.accounts.change(account, decide).await
}

/// Makes a person the owner of an account that has no members. Returns whether the person is a member now.
pub(super) async fn claim(service: &Service, account: AccountId, person: PersonId) -> Result<bool, ServiceError> {
    let new = Membership { account_id: account, person_id: person, role: Role::Owner, since: service.now() };
    let decide = async |ledger: &Ledger| -> Result<_, ServiceError> {
        let there = ledger.members(account).await?;
        if !there.is_empty() {
            let is_one = there.iter().any(|member| member.person_id == person);
            return Ok(Decided::new(Vec::new(), is_one));
        }
        let events = vec![event(EventKind::MemberJoined, person, Role::Owner, By::SignUp)];
        Ok(Decided { resources: vec![Resource::Member(new)], events, answer: true })
    };
    service.accounts.change(account, decide).await
}

/// A member, and who that is; nobody where the person was forgotten.
#[derive(Debug, Clone)]
pub struct Member {
    /// The membership.
    pub membership: Membership,
    /// The person.
    pub person: Option<Person>,
}

/// An account's members, those who were first before others.
///
/// # Errors
///
/// The ledger can't be read just now.
pub async fn list(service: &Service, account: AccountId) -> Result<Vec<Member>, ServiceError> {
    let people = service.ledger().people_of(account).await?;
    Ok(people.into_iter().map(|(membership, person)| Member { membership, person }).collect())
}

/// An invitation that nobody has accepted yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Its id.
    pub id: Uuid,
    /// The address that it was mailed to.
    pub email: String,
    /// The role.
    pub role: Role,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// The open invitations to an account, newest first.
///
/// # Errors
///
/// The ledger can't be read just now.
pub async fn invitations(service: &Service, account: AccountId) -> Result<Vec<Invitation>, ServiceError> {
    let links = service.ledger().invitations(account, service.now()).await?;
    let invitation = |StoredLink { id, email, purpose, expires_at, .. }| match purpose {
        Purpose::Invite { role, .. } => Some(Invitation { id, email, role, expires_at }),
        Purpose::SignUp | Purpose::Reset | Purpose::Nothing => None,
    };
    Ok(links.into_iter().filter_map(invitation).collect())
}

/// A change of members, as the account's events tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// When.
    pub at: Timestamp,
    /// What: `member_joined`.
    pub kind: String,
    /// Who it is about: an address, or that it is nobody's any more.
    pub whom: String,
    /// The role since, or until then.
    pub role: String,
    /// Who did it: an address, `invitation`, `sign_up` or `operator`.
    pub by: String,
    /// How many keys were revoked with it.
    pub keys_revoked: usize,
}

/// The latest changes of an account's members, newest first.
///
/// # Errors
///
/// The ledger can't be read just now.
pub async fn changes(service: &Service, account: AccountId) -> Result<Vec<Changed>, ServiceError> {
    let mut events = Vec::new();
    for kind in [EventKind::MemberJoined, EventKind::MemberRoleChanged, EventKind::MemberLeft] {
        events.extend(service.ledger().events(account, Some(kind), None, SHOWN).await?);
    }
    events.sort_by_key(|event| std::cmp::Reverse(event.id));
    let mut changes = Vec::new();
    for EventRow { at, kind, data, .. } in events.into_iter().take(usize::try_from(SHOWN).unwrap_or_default()) {
        let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
        let (whom, by) = (named(service, &text("person_id")).await?, named(service, &text("by")).await?);
        // What is older than this has no number.
        let keys_revoked = text("keys_revoked").parse().unwrap_or_default();
        changes.push(Changed { at, kind, whom, role: text("role"), by, keys_revoked });
    }
    Ok(changes)
}

/// The address of a person with this id; the text itself where it is no id.
pub(super) async fn named(service: &Service, text: &str) -> Result<String, ServiceError> {
    let Ok(id) = Uuid::parse_str(text) else { return Ok(text.to_owned()) };
    let person = service.ledger().person(PersonId(id)).await?;
    Ok(person.map_or_else(|| "somebody who was forgotten".to_owned(), |person| person.email))
}

/// Invites an address to an account. The link is mailed, and is nobody else's business.
///
/// # Errors
///
/// The text is no address ([`Invalid`](ServiceError::Invalid)), it is a member's or nobody may come in
/// ([`Conflict`](ServiceError::Conflict)), or no letter can be sent.
pub async fn invite(
    service: &Service,
    account: AccountId,
    by: &Person,
    email: &str,
    role: Role,
) -> Result<(), ServiceError> {
    let email = accounts::address(email)?;
    let known = service.ledger().person_by_email(&email).await?;
    if known.is_none() && service.people.sign_up == SignUp::Closed {
        return Err(ServiceError::conflict("Nobody new comes in here: ask whoever runs this."));
    }
    let there = service.ledger().members(account).await?;
    if known.is_some_and(|known| there.iter().any(|member| member.person_id == known.id)) {
        return Err(ServiceError::conflict("This address is a member's already."));
    }
    if there.len() >= member::MOST_MEMBERS {
        return Err(Kept::TooMany.into());
    }
    let token = make_link(service, &email, Purpose::Invite { account_id: account, role, by: Some(by.id) }).await?;
    let link = service.people.link_to("join", &token);
    // Names are anybody's text; an address was proved.
    let text = format!(
        "{} invites you to an account, as {}. This link accepts it; it is good once, for a week:\n\n{link}\n\n\
         If you know nobody there, nothing needs to be done.\n",
        by.email,
        role.name()
    );
    mail(service, &email, "You are invited", text, INVITE_MS).await
}

/// Takes an invitation back.
///
/// # Errors
///
/// There is none with this id ([`NotFound`](ServiceError::NotFound)), or the ledger can't be written.
pub async fn withdraw(service: &Service, account: AccountId, id: Uuid) -> Result<(), ServiceError> {
    let was_there = service.ledger().withdraw(account, id).await?;
    was_there.then_some(()).ok_or(ServiceError::NotFound("an invitation with that id"))
}

/// Gives a member another role, and revokes in the same change the keys that the member made and that may do more than the role
/// may, if that is wanted. Returns the public parts of those that are revoked, by which caches know them; nothing where the member
/// has that role already.
///
/// # Errors
///
/// There is no such member ([`NotFound`](ServiceError::NotFound)), the last owner would be none
/// ([`Conflict`](ServiceError::Conflict)), or the ledger can't be written.
pub async fn change_role(
    service: &Service,
    account: AccountId,
    person: PersonId,
    role: Role,
    by: By,
    keys: MadeKeys,
) -> Result<Option<Vec<String>>, ServiceError> {
    let at = service.now();
    let decide = async |ledger: &Ledger| -> Result<_, ServiceError> {
        let there = ledger.members(account).await?;
        check_may(&there, by)?;
        let member = member::change_role(&there, &away(ledger, account).await?, person, role)?;
        if there.contains(&member) {
            return Ok(Decided::new(Vec::new(), None));
        }
        let mut made = keys_to_revoke(ledger, account, person, keys).await?;
        made.retain(|key| key.scopes.within(role.scopes()) != key.scopes);
        let changed = event(EventKind::MemberRoleChanged, person, role, by);
        let Decided { resources, events, answer } = with_keys(Resource::Member(member), changed, made, at);
        Ok(Decided { resources, events, answer: Some(answer) })
    };
    let revoked = service.accounts.change(account, decide).await?;
    after_change(service, account, person).await?;
    Ok(revoked)
}

/// The members whom an operator has turned away.
pub(super) async fn away(ledger: &Ledger, account: AccountId) -> Result<Vec<PersonId>, ServiceError> {
    let people = ledger.people_of(account).await?.into_iter().filter_map(|(_, person)| person);
    Ok(people.filter(|person| person.disabled_at.is_some()).map(|person| person.id).collect())
}

/// Revokes the working keys of an account that a person made. Returns their public parts, by which caches know them.
pub(super) async fn revoke_made(
    service: &Service,
    account: AccountId,
    person: PersonId,
) -> Result<Vec<String>, ServiceError> {
    let at = service.now();
    let decide = async |ledger: &Ledger| -> Result<_, ServiceError> {
        let made = ledger.keys_made_by(account, person).await?;
        let resources = made.iter().map(|key| end(key, at)).collect();
        Ok(Decided::new(resources, made.into_iter().map(|key| key.public).collect()))
    };
    service.accounts.change(account, decide).await
}

fn end(key: &ApiKey, at: Timestamp) -> Resource {
    Resource::KeyRevoked { id: key.id, public: key.public.clone(), at }
}

/// The working keys that a member made, if they are to be revoked.
async fn keys_to_revoke(
    ledger: &Ledger,
    account: AccountId,
    person: PersonId,
    keys: MadeKeys,
) -> Result<Vec<ApiKey>, ServiceError> {
    Ok(match keys {
        MadeKeys::Revoke => ledger.keys_made_by(account, person).await?,
        MadeKeys::Keep => Vec::new(),
    })
}

/// A change of a member that revokes keys, and tells how many.
fn with_keys(member: Resource, changed: Event, revoked: Vec<ApiKey>, at: Timestamp) -> Decided<Vec<String>> {
    let events = vec![changed.text("keys_revoked", revoked.len().to_string())];
    let resources = std::iter::once(member).chain(revoked.iter().map(|key| end(key, at))).collect();
    Decided { resources, events, answer: revoked.into_iter().map(|key| key.public).collect() }
}

/// What a person did who may do less now lasts no longer: tokens are rotated, and invitations taken back.
async fn after_change(service: &Service, account: AccountId, person: PersonId) -> Result<(), ServiceError> {
    let there = service.ledger().members(account).await?;
    if !there.iter().any(|member| member.person_id == person && member.role.may(Act::Members)) {
        service.ledger().withdraw_of(account, person).await?;
    }
    Ok(service.ledger().rotate_sessions_of(person).await?)
}

/// What becomes of the keys that a member made, as the membership ends or the role becomes less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MadeKeys {
    /// They are revoked with it.
    Revoke,
    /// They go on.
    Keep,
}

impl MadeKeys {
    /// What becomes of them, by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "revoke" => Some(Self::Revoke),
            "keep" => Some(Self::Keep),
            _ => None,
        }
    }
}

/// Ends a membership, and in the same change the keys that the member made, if that is wanted. Returns the public parts of those
/// that are revoked, by which caches know them.
///
/// # Errors
///
/// As [`change_role`].
pub async fn remove(
    service: &Service,
    account: AccountId,
    person: PersonId,
    by: By,
    keys: MadeKeys,
) -> Result<Vec<String>, ServiceError> {
    let at = service.now();
    let decide = async |ledger: &Ledger| -> Result<_, ServiceError> {
        let there = ledger.members(account).await?;
        check_may(&there, by)?;
        let member = member::leave(&there, &away(ledger, account).await?, person)?;
        let made = keys_to_revoke(ledger, account, person, keys).await?;
        let left = event(EventKind::MemberLeft, person, member.role, by);
        Ok(with_keys(Resource::MemberLeft(person), left, made, at))
    };
    let revoked = service.accounts.change(account, decide).await?;
    after_change(service, account, person).await?;
    Ok(revoked)
}

/// What a member asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Credits.
    Credits,
    /// A higher limit of a key.
    Limit,
}

impl Wanted {
    /// Everything that can be asked for.
    pub const ALL: [Self; 2] = [Self::Credits, Self::Limit];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Credits => "credits",
            Self::Limit => "limit",
        }
    }
}

/// Asks an account's owners for more: they are mailed, and see it for a while. Once a day and member, however often it is
/// asked. Returns whether it is new.
///
/// # Errors
///
/// The ledger can't be written, or no letter can be sent.
pub async fn ask(service: &Service, account: AccountId, by: &Person, wanted: Wanted) -> Result<bool, ServiceError> {
    let now = service.now();
    let day = now.date();
    let subject = format!("{} {} {day}", by.id, wanted.name());
    let asked = Event::new(EventKind::MoreWanted, subject)
        .text("person_id", by.id.to_string())
        .text("wants", wanted.name())
        .text("day", day.clone());
    let decide = async |ledger: &Ledger| -> Result<_, ServiceError> {
        let events = ledger.events(account, Some(EventKind::MoreWanted), None, SEEN).await?;
        let is = |name: &str, row: &EventRow, text: &str| row.data[name].as_str() == Some(text);
        let is_known = events.iter().any(|row| {
            is("person_id", row, &by.id.to_string()) && is("wants", row, wanted.name()) && is("day", row, &day)
        });
        let events = if is_known { Vec::new() } else { vec![asked.clone()] };
        Ok(Decided { resources: Vec::new(), events, answer: !is_known })
    };
    if !service.accounts.change(account, decide).await? {
        return Ok(false);
    }
    for Member { membership, person } in list(service, account).await? {
        let is_owner = |person: &Person| membership.role == Role::Owner && person.disabled_at.is_none();
        let Some(person) = person.filter(is_owner) else { continue };
        let text = format!(
            "{} asks for {} for your account. You buy credits and set limits on its pages.\n",
            by.email,
            match wanted {
                Wanted::Credits => "credits",
                Wanted::Limit => "a higher limit",
            }
        );
        mail(service, &person.email, "A member asks for more", text, NOTICE_MS).await?;
    }
    Ok(true)
}

/// The latest wishes that are looked at.
const SEEN: u64 = 200;
/// How long owners see a wish.
const WANTED_MS: i64 = 7 * DAY_MS;

/// A wish of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// When it was told.
    pub at: Timestamp,
    /// Who told it: the address, or that it is nobody's any more.
    pub by: String,
    /// What is wanted: `credits`.
    pub wants: String,
}

/// What members have asked for in the last days, newest first.
///
/// # Errors
///
/// The ledger can't be read just now.
pub async fn wishes(service: &Service, account: AccountId) -> Result<Vec<Wish>, ServiceError> {
    let now = service.now();
    let events = service.ledger().events(account, Some(EventKind::MoreWanted), None, SHOWN).await?;
    let mut wishes = Vec::new();
    for event in events.into_iter().filter(|event| now.ms_since(event.at) < WANTED_MS) {
        let by = named(service, event.data["person_id"].as_str().unwrap_or_default()).await?;
        wishes.push(Wish { at: event.at, by, wants: event.data["wants"].as_str().unwrap_or_default().to_owned() });
    }
    Ok(wishes)
}
