package rptest

import (
	"encoding/xml"
	"maps"
	"net/url"
	"regexp"
	"strings"
)

// Form is a form of a page.
type Form struct {
	Action string // as written; empty is the page itself
	Method string // as written; empty is GET
	ID     string
	// Values are the fields with what they hold, buttons not included. A select is there, but empty: name the choice in Submit.
	Values url.Values
	// Buttons are the submit buttons in order.
	Buttons []Button
}

// Button is a button that sends a form.
type Button struct{ ID, Name, Value string }

// fill is what sending the form with values by a button sends; false if it has no such fields or button.
func (f Form) fill(buttonID string, values url.Values) (url.Values, bool) {
	out := maps.Clone(f.Values)
	for name, v := range values {
		if !out.Has(name) {
			return nil, false
		}
		out[name] = v
	}
	for _, button := range f.Buttons {
		if buttonID == "" || button.ID == buttonID {
			if button.Name != "" {
				out.Add(button.Name, button.Value)
			}
			return out, true
		}
	}
	return out, buttonID == ""
}

// rawText are elements whose content is no markup. The standard library has no HTML parser; its lenient XML one reads forms,
// once these are gone.
var rawText = regexp.MustCompile(`(?is)<!doctype[^>]*>|<!--.*?-->|<script\b.*?</script>|<style\b.*?</style>`)

// parseForms finds the forms of a page. What can't be parsed ends the list.
func parseForms(body string) []Form {
	if !strings.Contains(body, "<form") {
		return nil
	}
	d := xml.NewDecoder(strings.NewReader(rawText.ReplaceAllString(body, "")))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var forms []Form
	inside, text := false, "" // text is the name of the open textarea
	for {
		token, err := d.RawToken()
		if err != nil {
			return forms
		}
		switch t := token.(type) {
		case xml.EndElement:
			text = ""
			if strings.EqualFold(t.Name.Local, "form") {
				inside = false
			}
		case xml.CharData:
			if text != "" {
				forms[len(forms)-1].Values.Set(text, string(t))
			}
		case xml.StartElement:
			name, attr := strings.ToLower(t.Name.Local), attributes(t)
			if name == "form" {
				forms = append(forms, Form{Action: attr["action"], Method: attr["method"], ID: attr["id"], Values: url.Values{}})
				inside = true
			} else if inside {
				forms[len(forms)-1].add(name, attr)
				if name == "textarea" {
					text = attr["name"]
				}
			}
		}
	}
}

func attributes(t xml.StartElement) map[string]string {
	m := map[string]string{}
	for _, a := range t.Attr {
		m[strings.ToLower(a.Name.Local)] = a.Value
	}
	return m
}

func (f *Form) add(element string, attr map[string]string) {
	kind := strings.ToLower(attr["type"])
	_, checked := attr["checked"]
	switch {
	case element == "button" && (kind == "" || kind == "submit"), element == "input" && (kind == "submit" || kind == "image"):
		f.Buttons = append(f.Buttons, Button{attr["id"], attr["name"], attr["value"]})
	case attr["name"] == "" || kind == "button" || kind == "reset":
	case (kind == "checkbox" || kind == "radio") && !checked:
	case element == "input", element == "select", element == "textarea":
		f.Values.Add(attr["name"], attr["value"])
	}
}
