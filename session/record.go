package session

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"unsafe"
)

// record is what is kept of a session: a version byte, then fields as tag, length, bytes, so that an older process skips what a newer one adds,
// and (unlike JSON) reading it costs next to nothing. Times are Unix seconds; zero: not stated.
type record struct {
	ID           string // random, names the session in this process (refresh flights, logs by hash); not the cookie's secret
	Version      uint64 // grows by one with each save
	Issuer       string
	Subject      string
	SID          string
	ACR          string
	AccessToken  string
	TokenType    string
	RefreshToken string
	IDToken      string // raw
	Scope        string // space separated
	UserInfo     []byte // JSON object
	App          []byte // JSON
	LoginAt      int64
	IssuedAt     int64 // iat of the login's ID token, on the provider's clock; compared with the ledger, as LoginAt is
	AuthTime     int64
	ExpiresAt    int64 // absolute end
	SeenAt       int64 // last use known when saved
	TokenExpiry  int64
	RefreshAt    int64
	OldInfo      int64 // 1: a refresh brought a newer ID token and no UserInfo beside it
	RefreshedAt  int64
	SessionState string // of the login, for the provider's check_session_iframe
	Root         string // the first ID, where Rotate has changed it since
}

const recordVersion = 1

// The tags are on the wire for as long as sessions live: never reuse one.
const (
	tagID = iota + 1
	tagVersion
	tagIssuer
	tagSubject
	tagSID
	tagACR
	tagAccessToken
	tagTokenType
	tagRefreshToken
	tagIDToken
	tagScope
	tagUserInfo
	tagApp
	tagLoginAt
	tagIssuedAt
	tagAuthTime
	tagExpiresAt
	tagSeenAt
	tagTokenExpiry
	tagRefreshAt
	tagOldInfo
	tagRefreshedAt
	tagSessionState
	tagRoot
	tagEnd // one past the last
)

var (
	errRecordVersion = fmt.Errorf("%w: of an unknown version", errNoRecord)
	errRecordForm    = fmt.Errorf("%w: malformed", errNoRecord)
)

// append encodes rec behind b. Fields at their zero are left out.
func (rec *record) append(b []byte) []byte {
	b = append(b, recordVersion)
	for tag := byte(1); tag < tagEnd; tag++ {
		if s := rec.text(tag); s != nil {
			b = appendField(b, tag, *s)
		} else if p := rec.blob(tag); p != nil {
			b = appendField(b, tag, *p)
		} else if n := rec.number(tag); n != nil {
			b = appendNumber(b, tag, *n)
		}
	}
	return appendNumber(b, tagVersion, int64(rec.Version))
}

// parse reads what append wrote, and skips tags it doesn't know. Strings and bytes of rec are parts of b itself, which must not change
// as long as any of them is in use: keepers hand out records in memory of their own. Errors are errNoRecord.
func (rec *record) parse(b []byte) error {
	*rec = record{}
	if len(b) == 0 || b[0] != recordVersion {
		return errRecordVersion
	}
	if !rec.fields(b) {
		*rec = record{} // half a session is none
		return errRecordForm
	}
	return nil
}

func (rec *record) fields(b []byte) bool {
	// The strings are parts of b, which nobody changes: a copy of every token at every request would be most of what reading costs.
	all := unsafe.String(unsafe.SliceData(b), len(b))
	var met uint32
	for at := 1; at < len(b); {
		tag := b[at]
		length, n := binary.Uvarint(b[at+1:])
		from := at + 1 + n
		if n <= 0 || length > uint64(len(b)-from) {
			return false
		}
		to := from + int(length)
		at = to
		if tag == 0 || tag >= tagEnd {
			continue
		}
		if met&(1<<tag) != 0 {
			return false // two readings of one field: refuse both
		}
		met |= 1 << tag
		if !rec.set(tag, all[from:to], b[from:to:to]) {
			return false
		}
	}
	return true
}

// set stores one field, given as a string and as bytes.
func (rec *record) set(tag byte, text string, raw []byte) bool {
	if s := rec.text(tag); s != nil {
		*s = text
		return true
	}
	if p := rec.blob(tag); p != nil {
		*p = raw
		return true
	}
	v, n := binary.Varint(raw)
	if n <= 0 || n != len(raw) {
		return false
	}
	if tag == tagVersion {
		rec.Version = uint64(v)
		return true
	}
	*rec.number(tag) = v
	return true
}

func (rec *record) text(tag byte) *string {
	switch tag {
	case tagID:
		return &rec.ID
	case tagIssuer:
		return &rec.Issuer
	case tagSubject:
		return &rec.Subject
	case tagSID:
		return &rec.SID
	case tagACR:
		return &rec.ACR
	case tagAccessToken:
		return &rec.AccessToken
	case tagTokenType:
		return &rec.TokenType
	case tagRefreshToken:
		return &rec.RefreshToken
	case tagIDToken:
		return &rec.IDToken
	case tagScope:
		return &rec.Scope
	case tagSessionState:
		return &rec.SessionState
	case tagRoot:
		return &rec.Root
	}
	return nil
}

func (rec *record) blob(tag byte) *[]byte {
	switch tag {
	case tagUserInfo:
		return &rec.UserInfo
	case tagApp:
		return &rec.App
	}
	return nil
}

// number leaves out tagVersion, the one unsigned field.
func (rec *record) number(tag byte) *int64 {
	switch tag {
	case tagLoginAt:
		return &rec.LoginAt
	case tagIssuedAt:
		return &rec.IssuedAt
	case tagAuthTime:
		return &rec.AuthTime
	case tagExpiresAt:
		return &rec.ExpiresAt
	case tagSeenAt:
		return &rec.SeenAt
	case tagTokenExpiry:
		return &rec.TokenExpiry
	case tagRefreshAt:
		return &rec.RefreshAt
	case tagOldInfo:
		return &rec.OldInfo
	case tagRefreshedAt:
		return &rec.RefreshedAt
	}
	return nil
}

func appendField[T string | []byte](b []byte, tag byte, value T) []byte {
	if len(value) == 0 {
		return b
	}
	b = append(b, tag)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

func appendNumber(b []byte, tag byte, v int64) []byte {
	if v == 0 {
		return b
	}
	var buf [binary.MaxVarintLen64]byte
	n := binary.PutVarint(buf[:], v)
	return appendField(b, tag, buf[:n])
}

// String hides the record: it holds tokens.
func (rec record) String() string { return "session.record(redacted)" }

// GoString is String.
func (rec record) GoString() string { return rec.String() }

// LogValue is String.
func (rec record) LogValue() slog.Value { return slog.StringValue(rec.String()) }
