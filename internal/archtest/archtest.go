// Package archtest keeps the promises that the layout of the module makes: what
// an importer of one package gets, and which way the packages may look.
package archtest
