package feedback

// InMessage is for the fuzz test.
var InMessage = inMessage
