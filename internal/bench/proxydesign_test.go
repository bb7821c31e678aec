package bench

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/pierrec/lz4/v4"
	"github.com/vmihailenco/msgpack/v5"
)

// proxyCodec is a session cookie after oauth2-proxy's published description: msgpack, lz4, AES-CFB, then value|time|HMAC.
// It is code of ours, written to be measured.
type proxyCodec struct {
	block cipher.Block
	key   []byte
}

func newProxyCodec() *proxyCodec {
	key := []byte(strings.Repeat("k", 32))
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	return &proxyCodec{block: block, key: key}
}

func (p *proxyCodec) seal(c content) string {
	packed, err := msgpack.Marshal(c)
	if err != nil {
		panic(err)
	}
	var compressed bytes.Buffer
	zw := lz4.NewWriter(&compressed)
	if _, err := zw.Write(packed); err != nil {
		panic(err)
	}
	if err := zw.Close(); err != nil {
		panic(err)
	}
	sealed := make([]byte, aes.BlockSize+compressed.Len())
	_, _ = rand.Read(sealed[:aes.BlockSize])
	//lint:ignore SA1019 the design measured uses CFB
	cipher.NewCFBEncrypter(p.block, sealed[:aes.BlockSize]).XORKeyStream(sealed[aes.BlockSize:], compressed.Bytes())
	value := base64.RawURLEncoding.EncodeToString(sealed)
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	return fmt.Sprintf("%s|%s|%s", value, stamp, p.mac(value, stamp))
}

func (p *proxyCodec) mac(value, stamp string) string {
	mac := hmac.New(sha256.New, p.key)
	mac.Write([]byte("_oauth2_proxy" + value + stamp))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (p *proxyCodec) open(cookie string) (content, error) {
	var c content
	parts := strings.Split(cookie, "|")
	if len(parts) != 3 || !hmac.Equal([]byte(parts[2]), []byte(p.mac(parts[0], parts[1]))) {
		return c, errors.New("bad cookie")
	}
	sealed, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		return c, err
	}
	plain := make([]byte, len(sealed)-aes.BlockSize)
	//lint:ignore SA1019 the design measured uses CFB
	cipher.NewCFBDecrypter(p.block, sealed[:aes.BlockSize]).XORKeyStream(plain, sealed[aes.BlockSize:])
	packed, err := io.ReadAll(lz4.NewReader(bytes.NewReader(plain)))
	if err != nil {
		return c, err
	}
	return c, msgpack.Unmarshal(packed, &c)
}
