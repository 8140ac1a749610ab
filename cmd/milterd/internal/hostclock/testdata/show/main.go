// Command show prints, for each byte that it reads, its clock in seconds since 1970, and the seconds that have passed since its
// start by time.Since and by time.Now.
package main

import (
	"os"
	"strconv"
	"time"
)

func main() {
	began := time.Now()
	for one := make([]byte, 1); ; {
		if n, _ := os.Stdin.Read(one); n == 0 {
			return
		}
		since, now := time.Since(began), time.Now()
		text := strconv.FormatInt(now.Unix(), 10)
		for _, d := range []time.Duration{since, now.Sub(began)} {
			text += " " + strconv.Itoa(int(d.Seconds()))
		}
		_, _ = os.Stdout.WriteString(text + "\n")
	}
}
