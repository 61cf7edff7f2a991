//! Questions to accounts, as the product's processes ask them: of an account here where this process answers for its shard,
//! else at the node that owns it by the rows that were read last. Whether a question is asked again is the product's
//! decision. A question to another node takes its time, questions overtake each other, and a node that sleeps takes them
//! once it wakes up.

use std::{collections::BTreeMap, time::Duration};

use actors::{
    account::{AccountError, Asked as Question, Question as Any, machine::Input},
    accounts::{
        DEADLINE, IN_LINE,
        asking::{Asking, Next, grown, grows},
    },
    cluster::lease::Known,
};
use billing::{
    Timestamp,
    command::Command,
    ids::{AccountId, PaymentId, RequestId},
};
use runtime::node::NodeId;

use crate::{
    account::{AskId, Mail, Waits, Way, Ways, asked, way},
    answers::{Answered, Got},
    check::Checked,
    owner::Owner,
    world::World,
};

/// The caller of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Entering(RequestId),
    Settling(RequestId),
    Parking(RequestId),
    Resuming(RequestId),
    Buying(AccountId),
    Pursuing(PaymentId),
    Task(u64),
    Acting(RequestId),
    /// The answer matters to nobody.
    Nobody,
}

/// A question without an answer yet.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) owner: u64,
    pub(crate) who: Who,
    account: AccountId,
    question: Any,
    asking: Asking,
    /// Whether an earlier try may have been handled.
    is_unsure: bool,
    /// When it was asked first, by the leases' clock.
    began: u64,
    /// Until when the asker asks again by the leases' clock; in time that has really passed, where it is unsure.
    until: (Timestamp, u64),
}

/// A question on its way to the node that owns its account's shard.
pub(crate) struct Letter {
    way: Way,
    from: NodeId,
    account: AccountId,
    question: Any,
}

/// How long an asker asks again.
fn patience(question: &Any) -> Duration {
    match question {
        Any::Enter(enter) => DEADLINE + enter.max_wait,
        Any::Decide(command) if matches!(**command, Command::Resume { .. }) => IN_LINE,
        _ => DEADLINE,
    }
}

fn input(question: Any, way: Way) -> Input<Ways> {
    match question {
        Any::Enter(enter) => enter.input(way),
        Any::Decide(command) => command.input(way),
        Any::Buy(buy) => buy.input(way),
        Any::Open(open) => open.input(way),
        Any::Look(look) => look.input(way),
        Any::Preview(preview) => preview.input(way),
    }
}

impl World {
    /// Asks an account, wherever it is.
    pub(crate) fn ask(&mut self, owner: u64, account: AccountId, who: Who, question: impl Question) {
        let (asking, question) = (Asking::new(&question), question.into());
        let ms = u64::try_from(patience(&question).as_millis()).unwrap_or(u64::MAX);
        let until = (self.elapsed.plus_ms(i64::try_from(ms).unwrap_or(i64::MAX)), self.lease_ms + ms);
        let began = self.lease_ms;
        self.send(Asked { owner, who, account, question, asking, is_unsure: false, began, until });
    }

    /// Sends a command without waiting for its answer. Where there is one process, it precedes in the account's mailbox what is
    /// asked later.
    pub(crate) fn post(&mut self, owner: u64, account: AccountId, command: Command) {
        if self.is_alone {
            self.next_ask += 1;
            return self.mail(owner, account, input(command.into(), way(self.next_ask).0));
        }
        self.ask(owner, account, Who::Nobody, command);
    }

    /// Sends a question to whoever answers for its account. Where nobody is known it is asked again later.
    fn send(&mut self, asked: Asked) {
        let (shard, lease_ms) = (self.disk.shard_of(asked.account), self.lease_ms);
        let Some(asker) = self.owner(asked.owner) else { return };
        let (is_here, from) = (asker.answers_for(shard, lease_ms), asker.node);
        let there = asker.leases.owner(shard).map(|(node, _)| node).filter(|node| *node != asker.node);
        if is_here {
            let way = self.waits_for(&asked);
            self.mail(asked.owner, asked.account, input(asked.question.clone(), way));
        } else if let Some(place) = self.owners.iter().position(|it| Some(it.node) == there) {
            let way = self.waits_for(&asked);
            self.stats.asked_elsewhere += 1;
            self.owners[place].inbox.push(Letter { way, from, account: asked.account, question: asked.question });
        } else {
            self.moved.push(asked);
        }
    }

    fn has_time(&self, asked: &Asked) -> bool {
        (!asked.is_unsure || self.elapsed < asked.until.0) && self.lease_ms < asked.until.1
    }

    /// Whether no other node has counted the asker's as gone since the question was asked first.
    fn is_known_since(&self, asked: &Asked) -> bool {
        let Some(owner) = self.owners.iter().find(|owner| owner.id == asked.owner) else { return false };
        let has_lasted = |known: Known| known.has_lasted(owner.clock(asked.began), owner.clock(self.lease_ms));
        owner.leases.known().is_some_and(has_lasted)
    }

    fn waits_for(&mut self, asked: &Asked) -> Way {
        self.next_ask += 1;
        let (way, waits) = way(self.next_ask);
        self.asks.insert(self.next_ask, (asked.clone(), waits));
        way
    }

    /// A question that nobody answered for is asked again.
    pub(crate) fn a_question_is_asked_again(&mut self) -> Checked<bool> {
        let able: Vec<usize> = (0..self.moved.len()).filter(|place| self.is_awake(self.moved[*place].owner)).collect();
        let Some(place) = self.random.pick(&able) else { return Ok(false) };
        let mut asked = self.moved.swap_remove(place);
        if self.has_time(&asked) {
            let is_known = self.is_known_since(&asked);
            if let Some(got) = asked.asking.gives_up(is_known) {
                self.answered(asked.owner, asked.who, got)?;
            } else {
                self.stats.asked_again += 1;
                self.send(asked);
            }
        } else if let Next::Done(got) = asked.asking.next(Err(AccountError::Moved), true, false) {
            self.answered(asked.owner, asked.who, got)?;
        }
        Ok(true)
    }

    /// A node takes a question of another one, if it still answers for its account.
    pub(crate) fn a_question_arrives(&mut self) -> Checked<bool> {
        let able = self.owners.iter().filter(|owner| !owner.is_paused && !owner.inbox.is_empty());
        let able: Vec<(u64, usize)> = able.map(|owner| (owner.id, owner.inbox.len())).collect();
        let Some((id, count)) = self.random.pick(&able) else { return Ok(false) };
        let place = usize::try_from(self.random.below(i64::try_from(count).unwrap_or(1))).unwrap_or(0);
        let lease_ms = self.lease_ms;
        let Some(owner) = self.owner(id) else { return Ok(false) };
        let Letter { way, from, account, question } = owner.inbox.remove(place);
        let shard = self.disk.shard_of(account);
        if self.owners.iter().any(|it| it.id == id && it.knows(from) && it.answers_for(shard, lease_ms)) {
            self.mail(id, account, input(question, way));
            return Ok(true);
        }
        self.say(|| format!("owner {id} does not answer for {account}"));
        self.resolve(way.id, Err(AccountError::Moved))?;
        Ok(true)
    }

    /// Gives an account at an owner a message.
    pub(crate) fn mail(&mut self, owner: u64, account: AccountId, input: Input<Ways>) {
        match self.owner(owner) {
            Some(owner) => owner.actor(account).mailbox.push_back(Mail::Input(input)),
            None => self.has_ended = true,
        }
    }

    /// A caller waits no longer. What it has asked may be handled all the same.
    pub(crate) fn someone_waits_no_longer(&mut self) -> Checked<bool> {
        let asks: Vec<AskId> = self.asks.keys().copied().collect();
        let Some(id) = self.random.pick(&asks) else { return Ok(false) };
        let Some((Asked { owner, who, mut asking, .. }, _)) = self.asks.remove(&id) else { return Ok(false) };
        self.say(|| format!("ask {id} is waited for no longer: {who:?}"));
        if self.random.percent(50) || matches!(who, Who::Parking(_)) {
            self.owners.iter_mut().for_each(|it| it.inbox.retain(|letter| letter.way.id != id));
        }
        let late = Err(AccountError::Unavailable("no answer in time".to_owned()));
        if let Next::Done(got) = asking.next(late, true, false) {
            self.answered(owner, who, got)?;
        }
        Ok(true)
    }

    /// Ends questions that were asked again, once their askers' time is over: no way and no mailbox keeps one for longer.
    pub(crate) fn the_unsure_give_up(&mut self) -> Checked {
        let gives_up = |asked: &Asked| asked.asking.clone().gives_up::<Got>(self.is_known_since(asked)).is_some();
        let is_late = |(asked, _): &(Asked, Waits)| asked.is_unsure && (!self.has_time(asked) || gives_up(asked));
        let late: Vec<AskId> = self.asks.iter().filter(|(_, it)| is_late(it)).map(|(id, _)| *id).collect();
        for id in late {
            let Some((Asked { owner, who, mut asking, .. }, _)) = self.asks.remove(&id) else { continue };
            self.owners.iter_mut().for_each(|it| it.forgets_question(id));
            let late = Err(AccountError::Unavailable("no answer in time".to_owned()));
            if let Next::Done(got) = asking.next(late, true, false) {
                self.answered(owner, who, got)?;
            }
        }
        Ok(())
    }

    /// Tells callers that can't be answered any more.
    pub(crate) fn nobody_answers(&mut self) -> Checked<bool> {
        let lost = self.asks.iter().find(|(_, (_, waits))| !waits.has_hope()).map(|(id, _)| *id);
        let Some(id) = lost else { return Ok(false) };
        self.resolve(id, Err(AccountError::Unavailable("the account is being rebuilt".to_owned())))?;
        Ok(true)
    }

    /// Takes the answer to a question, or that none will come. It may be asked again.
    pub(crate) fn resolve(&mut self, id: AskId, got: Got) -> Checked {
        let Some((mut asked, _)) = self.asks.remove(&id) else { return Ok(()) };
        let (shard, lease_ms) = (self.disk.shard_of(asked.account), self.lease_ms);
        let is_here = self.owners.iter().any(|it| it.id == asked.owner && it.answers_for(shard, lease_ms));
        asked.is_unsure |= matches!(got, Err(AccountError::Unavailable(_)));
        let has_time = self.has_time(&asked);
        match asked.asking.next(got, is_here, has_time) {
            Next::Again => self.moved.push(asked),
            Next::Done(got) => {
                if let Ok(Answered::Command(answer)) = &got
                    && let (Some(request), Some(amounts)) = (grows(&asked.question), grown(answer))
                {
                    self.holds(asked.owner, request, amounts);
                }
                self.answered(asked.owner, asked.who, got)?;
            }
        }
        Ok(())
    }
}

impl Owner {
    /// A question is nowhere on its way any more.
    fn forgets_question(&mut self, id: AskId) {
        self.inbox.retain(|letter| letter.way.id != id);
        for actor in self.actors.values_mut() {
            actor.mailbox.retain(|mail| !matches!(mail, Mail::Input(input) if asked(input) == Some(id)));
        }
    }
}

/// The questions that wait for an answer.
pub(crate) type Asks = BTreeMap<AskId, (Asked, Waits)>;
