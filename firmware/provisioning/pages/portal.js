// Makes the pages quicker where there is script; every one of them works without.
(function () {
  "use strict";
  var body = document.body, page = body.dataset.page, at = document.getElementById.bind(document);

  function every(ms, path, then) {
    var failed = 0;
    (function again() {
      fetch(path, {cache: "no-store"})
        .then(function (answer) { return answer.json(); })
        .then(function (data) { failed = 0; then(data); })
        .catch(function () { failed++; })  // the phone may have left the Wi-Fi for a moment
        .then(function () { setTimeout(again, failed ? ms * 2 : ms); });
    })();
  }

  if (page === "form") {
    var show = at("show"), password = at("password"), ssid = at("ssid");
    show.hidden = false;
    show.onclick = function () {
      var open = password.type === "password";
      password.type = open ? "text" : "password";
      show.textContent = open ? show.dataset.hide : show.dataset.show;
      show.setAttribute("aria-pressed", open);
      password.focus();
    };
    var picks = document.querySelectorAll("input[name=pick]");
    var keys = false;  // arrows go through the networks, a thumb has chosen
    picks.forEach(function (pick) {
      pick.onkeydown = function () { keys = true; };
      pick.onchange = function () { ssid.value = ""; if (!keys) password.focus(); keys = false; };
    });
    ssid.oninput = function () {
      if (ssid.value) picks.forEach(function (pick) { pick.checked = false; });
    };
  }

  if (page === "status" && body.dataset.state.indexOf("failed")) {
    every(1000, "/status.json", function (now) {
      var is = now.provider ? "provider " + now.provider : now.state + " " + now.cloud;
      if (is !== body.dataset.state) location.replace("/status");
    });
  }

  if (page === "wiring") {
    var words = at("phases").dataset, last = 0, since = 0, told;
    // What the notes above the values tell of.
    function known(of) {
      var lost = of.measurement.flags.filter(function (flag) { return /volt|estim/.test(flag); });
      return JSON.stringify([of.findings, of.clamps, of.settled, lost]);
    }
    function read(found) { told = known(JSON.parse("{" + found.dataset.told + "}")); }
    function number(value, digits, unit) {
      var text = value === null ? "–" : value.toFixed(digits) + " " + unit;
      return document.documentElement.lang === "en" ? text : text.replace(".", ",");
    }
    // In the language of the page: made anew by the device.
    function refound() {
      fetch("/wiring").then(function (answer) { return answer.text(); }).then(function (text) {
        var fresh = new DOMParser().parseFromString(text, "text/html").getElementById("found");
        if (fresh) { at("found").innerHTML = fresh.innerHTML; read(fresh); }
      }).catch(function () {});
    }
    read(at("found"));
    every(1000, "/live.json", function (live) {
      var m = live.measurement, now = Date.now();
      if (!m) return;
      if (m.seq !== last) { last = m.seq; since = now; }
      for (var n = 0; n < 3; n++) {
        var p = m.p[n];
        at("i" + n).textContent = number(m.i[n], 1, "A");
        at("u" + n).textContent = number(m.u[n], 0, "V");
        at("p" + n).textContent = number(p === null ? null : Math.abs(p), 0, "W");
        at("d" + n).textContent = p === null ? "–" : Math.abs(p) < 5 ? words.none
          : p > 0 ? words.in : words.out;
      }
      at("age").hidden = now - since < 4000;
      if (known(live) !== told) refound();
    });
  }
})();
