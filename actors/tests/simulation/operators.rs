//! Operators and owners of accounts: settings, credits that are given and taken back, requested reversals.

use billing::{
    Nanos,
    automatic::{AutoSettings, Switch},
    command::{Command, Fund},
    grant::Source,
    ids::{AccountId, GrantId},
    payment::{PaymentStatus, Purpose},
    time::DAY_MS,
};

use crate::{rows::Rows, world::World};

impl World {
    /// A client or an operator does something with money.
    pub(crate) fn someone_acts(&mut self) -> bool {
        let Some(owner) = self.any_owner() else { return false };
        let account = self.any_account();
        if self.has_freezes() && self.random.percent(4) {
            self.freeze(owner, account);
            return true;
        }
        if self.random.percent(30) {
            self.keys_change(owner, account);
            return true;
        }
        match self.random.below(94) {
            0..20 => self.buy(owner, account, Purpose::Purchase),
            20..28 => self.buy(owner, account, Purpose::Subscription),
            28..31 => self.operate(owner, account, Command::CancelSubscription),
            31..33 => self.operate(owner, account, Command::ResumeSubscription),
            33..53 => {
                let settings = self.settings();
                self.operate(owner, account, Command::SetAutomatic(settings.into()));
            }
            53..63 => self.give(owner, account),
            63..70 => self.give_again(owner),
            70..74 => self.act_once(owner, account),
            74..78 => {
                let grants: Vec<GrantId> = self.disk.tables.rows(account).grants.keys().copied().collect();
                let Some(grant_id) = self.random.pick(&grants) else { return false };
                let amount = self.random.percent(50).then(|| Nanos::new(self.random.below(2_000_000_000)));
                self.operate(owner, account, Command::VoidGrant { grant_id, amount });
                // Whoever has given it may not have heard so, and does it again.
                let given = self.gifts.iter().find(|(_, fund)| fund.grant_id == grant_id).cloned();
                if let Some((account, fund)) = given.filter(|_| amount.is_none()) {
                    let fund = Fund { grant_id: GrantId(self.new_id()), ..fund };
                    self.operate(owner, account, Command::Fund(fund));
                }
            }
            78..83 => {
                let account = self.a_payer();
                return self.refund(owner, account);
            }
            83..89 => {
                let account = self.a_payer();
                return self.dispute(account);
            }
            _ => {
                let account = self.a_payer();
                return self.reversal_moves_on(account);
            }
        }
        true
    }

    /// An account that has paid something, if there is one.
    fn a_payer(&mut self) -> AccountId {
        let paid = |rows: &Rows| rows.payments.values().any(|payment| payment.status == PaymentStatus::Succeeded);
        let payers = self.disk.tables.accounts.iter().filter(|(_, rows)| paid(rows));
        let payers: Vec<AccountId> = payers.map(|(account, _)| *account).collect();
        self.random.pick(&payers).unwrap_or_else(|| self.any_account())
    }

    pub(crate) fn operate(&mut self, owner: u64, account: AccountId, command: Command) {
        self.say(|| format!("owner {owner} is asked by {account}: {command:?}"));
        self.post(owner, account, command);
    }

    /// An operator freezes an account, or has it admit requests again: more often, so that others are not seldom.
    fn freeze(&mut self, owner: u64, account: AccountId) {
        let freezes = self.random.percent(40);
        self.stats.frozen += u64::from(freezes);
        self.operate(owner, account, if freezes { Command::Freeze } else { Command::Unfreeze });
    }

    fn settings(&mut self) -> AutoSettings {
        let amount = Nanos::dollars(self.random.between(1, 12));
        let most = amount + Nanos::dollars(self.random.below(30));
        AutoSettings {
            reload: Switch::from_bool(self.random.percent(75)),
            threshold: Nanos::dollars(self.random.below(5)),
            amount,
            monthly_max: most,
            scale: Switch::from_bool(self.random.percent(50)),
            monthly_spend: Nanos::dollars(self.random.below(60)),
            method: None,
            // A line above the threshold, of some.
            alerts: (amount > Nanos::dollars(6)).then(|| vec![amount]),
        }
    }

    fn give(&mut self, owner: u64, account: AccountId) {
        let source =
            [Source::Promo, Source::Goodwill, Source::Free][usize::try_from(self.random.below(3)).unwrap_or(0)];
        let days = if self.random.percent(50) { self.random.between(1, 5) } else { 28 };
        let fund = Fund {
            grant_id: GrantId(self.new_id()),
            source,
            source_key: format!("gift {}", self.random.below(1_000)),
            amount: Nanos::new(self.random.between(1, 6_000_000_000)),
            paid: Nanos::ZERO,
            expires_at: Some(self.now_of(owner).plus_ms(days * DAY_MS)),
            subscribed_until: None,
        };
        self.gifts.push((account, fund.clone()));
        self.operate(owner, account, Command::Fund(fund));
    }

    /// An operator without an answer repeats the request, with the same key.
    fn give_again(&mut self, owner: u64) {
        // Most often soon.
        let last = self.gifts.len().saturating_sub(if self.random.percent(60) { 1 } else { usize::MAX });
        if let Some((account, fund)) = self.random.pick(&self.gifts[last..]) {
            let expires_at = Some(self.now_of(owner).plus_ms(DAY_MS));
            let fund = Fund { grant_id: GrantId(self.new_id()), expires_at, ..fund };
            self.operate(owner, account, Command::Fund(fund));
        }
    }
}
