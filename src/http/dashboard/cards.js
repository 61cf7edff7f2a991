// Stripe's form for a card, and the question of a card's bank before a payment. The number of a card goes from Stripe's
// frame to Stripe alone.
"use strict";

// What is wrong, where screen readers read it out.
function say(form, text) {
  const message = form.querySelector("[role=alert]");
  message.textContent = text;
  message.hidden = false;
}

// Does what a form is for at its submission, once at a time. What it throws is said to its reader.
function whenSent(form, act) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    form.setAttribute("aria-busy", "true");
    try {
      await act();
    } catch (error) {
      say(form, error.message);
      button.disabled = false;
    } finally {
      form.removeAttribute("aria-busy");
    }
  });
}

function answered(result) {
  if (result.error) throw result.error;
}

// Has Stripe take a card, and then tells the gateway that it has.
function saveCard(form, stripe) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const appearance = { theme: dark ? "night" : "stripe" };
  const elements = stripe.elements({ clientSecret: form.dataset.secret, appearance });
  elements.create("payment").mount("#stripe");
  const confirmParams = { return_url: location.origin + "/dashboard/credits/cards/finish" };
  whenSent(form, async () => {
    answered(await stripe.confirmSetup({ elements, confirmParams, redirect: "if_required" }));
    form.submit();
  });
}

// Has the card's owner answer the bank. The gateway hears of it from Stripe.
function confirmPayment(form, stripe) {
  const confirmParams = { payment_method: form.dataset.card, return_url: location.href };
  whenSent(form, async () => {
    const clientSecret = form.dataset.secret;
    answered(await stripe.confirmPayment({ clientSecret, confirmParams, redirect: "if_required" }));
    location.assign("/dashboard/credits?said=pending");
  });
}

for (const [id, begin] of [["save-card", saveCard], ["confirm-payment", confirmPayment]]) {
  const form = document.getElementById(id);
  if (!form) continue;
  if (typeof Stripe === "undefined") say(form, "Stripe can't be reached from this browser. Load the page again.");
  else begin(form, Stripe(form.dataset.key));
}
