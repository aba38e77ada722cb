//go:build unix

package fakeclient

import (
	"testing"
	"time"
)

// As the client does: a temporary exit without a reason line is none (spec 07 §3.6, test plan row 14).
func TestTemporaryExitNeedsAReason(t *testing.T) {
	for text, delay := range map[string]int{
		`60\n`: -1, `60`: -1, ``: -1, `60\nwhy\n`: 60, `60\nwhy\nnotice\n`: 60, `x\nwhy\n`: 300, `-5\nwhy\n`: 300, `100000\nwhy\n`: 300,
	} {
		c := New(t, t.TempDir(), "wu_1_0")
		c.Start("/bin/sh", nil, "-c", "printf %b '"+text+"' > boinc_temporary_exit")
		if v := c.Wait(10 * time.Second); v.Delay != delay || v.Code != 0 || v.Finished {
			t.Errorf("%q: %+v", text, v)
		}
	}
}
