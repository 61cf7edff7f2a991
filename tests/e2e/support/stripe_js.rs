//! A strict stand-in for Stripe.js in a browser, as far as our pages use it: what it does not know is refused. As with Stripe's,
//! the number of a card is typed into a frame of another origin, which sends it past the page to Stripe's API.

use actix_web::HttpResponse;

/// Where the script is.
pub(crate) const PATH: &str = "/v3/";

const SCRIPT: &str = r#"
(() => {
  const origin = new URL(document.currentScript.src).origin;
  const only = (who, options, names) => {
    for (const name of Object.keys(options))
      if (!names.includes(name)) throw new Error(`IntegrationError: ${who} knows no ${name}`);
    for (const name of names) if (!(name in options)) throw new Error(`IntegrationError: ${who} needs ${name}`);
  };
  const object = (secret) => secret.split("_secret_")[0];
  const returns = (url) => {
    if (!/^https?:\/\//.test(url)) throw new Error("IntegrationError: return_url must be an address");
  };
  window.Stripe = (key) => {
    if (!/^pk_/.test(key)) throw new Error("IntegrationError: not a publishable key");
    return {
      elements(options) {
        only("elements", options, ["clientSecret", "appearance"]);
        const made = { secret: options.clientSecret, frame: null };
        made.create = (kind) => {
          if (kind !== "payment") throw new Error("IntegrationError: no such element");
          return {
            mount(selector) {
              const place = document.querySelector(selector);
              if (!place) throw new Error(`IntegrationError: nothing is ${selector}`);
              made.frame = document.createElement("iframe");
              made.frame.title = "Secure payment input frame";
              made.frame.id = "stripe-frame";
              made.frame.src = `${origin}/frame`;
              place.append(made.frame);
            },
          };
        };
        return made;
      },
      confirmSetup(options) {
        only("confirmSetup", options, ["elements", "confirmParams", "redirect"]);
        only("confirmParams", options.confirmParams, ["return_url"]);
        returns(options.confirmParams.return_url);
        const { secret, frame } = options.elements;
        return new Promise((resolve) => {
          addEventListener("message", (event) => {
            if (event.origin === origin) resolve(event.data.error ? event.data : { setupIntent: event.data });
          }, { once: true });
          frame.contentWindow.postMessage({ key, client_secret: secret, id: object(secret) }, origin);
        });
      },
      async confirmPayment(options) {
        only("confirmPayment", options, ["clientSecret", "confirmParams", "redirect"]);
        const { payment_method, return_url } = options.confirmParams;
        only("confirmParams", options.confirmParams, ["payment_method", "return_url"]);
        returns(return_url);
        const body = new URLSearchParams({ key, client_secret: options.clientSecret, payment_method });
        const path = `payment_intents/${object(options.clientSecret)}/confirm`;
        const answer = await (await fetch(`${origin}/v1/${path}`, { method: "POST", body })).json();
        return answer.error ? answer : { paymentIntent: answer };
      },
    };
  };
})();
"#;

const FRAME: &str = r#"<!doctype html><html lang="en"><title>Card</title>
<label>Card number <input id="number" inputmode="numeric"></label>
<script>
addEventListener("message", async (event) => {
  const { key, client_secret, id } = event.data;
  const body = new URLSearchParams({
    key, client_secret, "payment_method_data[type]": "card",
    "payment_method_data[card][number]": document.getElementById("number").value,
  });
  const answer = await (await fetch(`/v1/setup_intents/${id}/confirm`, { method: "POST", body })).json();
  event.source.postMessage(answer, event.origin);
});
</script></html>"#;

/// The script.
pub(super) async fn script() -> HttpResponse {
    HttpResponse::Ok().content_type("text/javascript").body(SCRIPT)
}

/// The frame into which a card's number is typed.
pub(super) async fn frame() -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(FRAME)
}
