// Package interop runs Latchkey against providers and clients which its authors did not write: oidc-provider and
// oauth2-mock-server under Node.js, ZITADEL's example provider, Chromium, and the chi router.
//
// It is a module of its own, so that none of these is a dependency of the SDK. What this machine lacks is skipped, with a line that
// says how to get it; with LATCHKEY_REQUIRE_SERVICES=1, as in CI, it is a failure instead.
package interop
