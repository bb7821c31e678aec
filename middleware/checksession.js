"use strict";
const told = document.documentElement.dataset;
const every = 5000, patience = 30000, memory = "latchkey-session-state";

const tell = status => {
	if (parent !== window) parent.postMessage({latchkey: "session", status}, location.origin);
};

const watch = () => {
	const provider = document.getElementById("provider"), origin = new URL(provider.src).origin;
	let timer, silent, done = false, seen = false;
	try { seen = localStorage.getItem(memory) === told.state; } catch { /* no storage: this page's own memory must do */ }

	// A provider that says "changed" of the very state it has just renewed would else be asked again by each load, without end.
	const forget = () => {
		try { localStorage.removeItem(memory); } catch { /* as above */ }
	};
	const end = status => {
		done = true;
		clearInterval(timer);
		silent?.remove();
		tell(status);
	};
	const answered = {
		unchanged: () => {
			if (seen) return;
			seen = true;
			try { localStorage.setItem(memory, told.state); } catch { /* as above */ }
		},
		// Where the browser keeps the provider's cookies from its frame, nothing is ever unchanged. Only who has seen it once can tell a change.
		changed: () => {
			if (!seen || !told.silent) return end("unknown");
			clearInterval(timer);
			silent = document.createElement("iframe");
			silent.setAttribute("sandbox", "allow-scripts allow-same-origin"); // no page of the provider's may lead the window away
			silent.src = location.pathname + "?silent=1";
			document.body.append(silent);
			setTimeout(() => done || end("unknown"), patience);
		},
		error: () => end("unknown"),
	};
	addEventListener("message", message => {
		if (done) return;
		if (message.source === provider.contentWindow && message.origin === origin) {
			if (!silent && Object.hasOwn(answered, message.data)) answered[message.data]();
		} else if (silent && message.source === silent.contentWindow && message.origin === location.origin) {
			if (message.data?.latchkey !== "session") return;
			if (message.data.status !== "signed-in") return end(message.data.status);
			done = true;
			forget();
			location.replace(location.pathname);
		}
	});
	const ask = () => provider.contentWindow.postMessage(told.client + " " + told.state, origin);
	provider.addEventListener("load", () => {
		if (timer || done) return;
		timer = setInterval(ask, every);
		ask();
	});
};

if (told.status === "watch") watch();
else if (told.status === "bounce") location.replace(location.pathname + (location.search || "?") + "&framed=1");
else tell(told.status);
